"""The web page: `captioner demo`, or `python app.py` in a checkout.

    command.py     the options of the command; starts and stops the server
    build.py       the page: header, tabs, theme, endpoints
    caption.py     the Caption tab: one photo, its words and their heat
    folder.py      the Folder tab: many photos or a zip
    score.py       the Score tab
    api.py         the named endpoints for programs
    settings.py    the controls of the Caption tab, and the bounds of what may be asked
    batching.py    photos that are asked for at the same time go through the model together
    models.py      the models that can be chosen, each loaded once
    cache.py       what was captioned lately, so that its pictures can be asked for
    uploads.py     which files may be opened, and how large they may be
    theme.py       what gradio's own parts look like
    static/        the style sheet and the scripts

Nothing is imported here: gradio takes seconds, and the command line should not wait for it.
"""
