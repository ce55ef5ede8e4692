"""A synthetic shop drawn by code, in which everything that is noise is known."""

from nbkit.data.synthetic.assembly import SIZES, Oracle, boutique, perfect_knowledge
from nbkit.data.synthetic.cards import contact_sheet
from nbkit.data.synthetic.shop import BoutiqueSettings

__all__ = ["SIZES", "BoutiqueSettings", "Oracle", "boutique", "contact_sheet", "perfect_knowledge"]
