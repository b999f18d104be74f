"""GAN, WGAN and WGAN-GP side by side, each with its own dimensions.

Ranges and defaults are those of the three spaces, which take the wide ranges of Lucic et al. 2018; that study shares
one learning rate between the players, and here each player has its own.
"""

from search_spaces.declarations import Union
from search_spaces.gan import GAN
from search_spaces.wgan import WGAN
from search_spaces.wgan_gp import WGAN_GP

CLASSIC = Union(
    name="classic",
    summary="GAN, WGAN or WGAN-GP: the search chooses which",
    source="Lucic et al. 2018, arXiv:1711.10337, wide ranges",
    spaces=(GAN, WGAN, WGAN_GP),
)
