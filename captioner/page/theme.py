"""The theme: gradio's own parts take their colours from the variables of static/page.css."""

import gradio as gr

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Only system fonts: the page asks nothing of any other server."""
    chosen = {
        "body_background_fill": "var(--c-paper)",
        "body_text_color": "var(--c-ink)",
        "body_text_color_subdued": "var(--c-soft)",
        "background_fill_primary": "var(--c-card)",
        "background_fill_secondary": "var(--c-paper)",
        "border_color_primary": "var(--c-line)",
        "border_color_accent": "var(--c-accent)",
        "color_accent_soft": "var(--c-wash)",
        "block_background_fill": "var(--c-card)",
        "block_border_color": "var(--c-line)",
        "block_label_background_fill": "var(--c-card)",
        "block_label_text_color": "var(--c-soft)",
        "block_title_text_color": "var(--c-ink)",
        "block_info_text_color": "var(--c-soft)",
        "input_background_fill": "var(--c-paper)",
        "input_background_fill_focus": "var(--c-card)",
        "input_border_color": "var(--c-edge)",
        "input_border_color_focus": "var(--c-accent)",
        "input_placeholder_color": "var(--c-soft)",
        "slider_color": "var(--c-accent)",
        "checkbox_background_color_selected": "var(--c-accent)",
        "checkbox_border_color_selected": "var(--c-accent)",
        "checkbox_label_background_fill": "var(--c-card)",
        "checkbox_label_background_fill_hover": "var(--c-wash)",
        "checkbox_label_background_fill_selected": "var(--c-wash)",
        "checkbox_label_text_color": "var(--c-ink)",
        "checkbox_label_text_color_selected": "var(--c-ink)",
        "button_primary_background_fill": "var(--c-accent)",
        "button_primary_background_fill_hover": "var(--c-accent-deep)",
        "button_primary_text_color": "var(--c-on-accent)",
        "button_secondary_background_fill": "var(--c-card)",
        "button_secondary_background_fill_hover": "var(--c-wash)",
        "button_secondary_text_color": "var(--c-ink)",
        "button_secondary_border_color": "var(--c-edge)",
        "link_text_color": "var(--c-accent)",
        "link_text_color_hover": "var(--c-accent-deep)",
        "link_text_color_visited": "var(--c-accent)",
        "table_even_background_fill": "var(--c-card)",
        "table_odd_background_fill": "var(--c-paper)",
        "error_background_fill": "var(--c-card)",
    }
    both = chosen | {f"{name}_dark": value for name, value in chosen.items()}
    base = gr.themes.Base(
        font=FONT, font_mono=MONO, radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_md,
    )  # fmt: skip
    return base.set(**both, block_shadow="none", block_border_width="1px")
