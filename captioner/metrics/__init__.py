"""Caption scores equal to the COCO evaluation's, without Java: CIDEr-D, CIDEr, BLEU, ROUGE-L.

Stands alone: imports numpy, never torch.
"""

from captioner.metrics.cider import Cider, CiderD, DocumentFrequency, cider, cider_d

__all__ = ["Cider", "CiderD", "DocumentFrequency", "cider", "cider_d"]
