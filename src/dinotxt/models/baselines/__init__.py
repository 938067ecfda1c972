"""Models of other libraries behind the interface of ``DinoTxt``."""

from dinotxt.models.baselines.groupvit import GroupVit
from dinotxt.models.baselines.openclip import OpenClip

__all__ = ["GroupVit", "OpenClip"]
