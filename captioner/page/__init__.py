"""The web page: `captioner demo`, or `python app.py` in a checkout.

    command.py     the options of the command; starts and stops the server
    build.py       the page, put together
    tabs.py        each tab: its markup, its script, and what the script may ask the server
    caption.py     the service behind the Caption tab: one photo, its words and their heat
    folder.py      the service behind the Folder tab: many photos or a zip; results.py: as files;
                   sheets.py: with heatmaps; jobs.py: whose turn it is; kept.py: what is written
                   down for after a restart
    score.py       the Score tab
    api.py         the named endpoints for programs
    settings.py    the form of settings, made from the fields of Request
    messages.py    what the scripts ask and what they get; server_functions.py: how
    batching.py    photos that are asked for at the same time go through the model together
    question_queue.py  whose turn it is when many ask
    models.py      the models that can be chosen, each loaded once
    cache.py       what was captioned lately, so that its pictures can be asked for
    uploads.py     which files may be opened, and how large they may be
    upload_parser.py   limits of one upload and of all; sweep.py: what is removed, and when
    middleware.py  the names that the page is served by; other sites' pages kept out
    accounts.py    the login page, logging out, wrong passwords
    sample_row.py data_uris.py theme.py assets.py static/
                   photos to try; pictures as addresses; colours; markup, styles and scripts

Nothing is imported here: gradio takes seconds, and the command line should not wait for it.
"""
