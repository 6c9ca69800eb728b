"""Caption checkpoints of the transformers library, from a folder or the Hugging Face hub, behind
the same Captioner as the model in the box.

    model = captioner.load("Salesforce/blip-image-captioning-base")

A file a family; `families` says which file knows which model_type. transformers is imported only
when such a model is loaded.
"""
