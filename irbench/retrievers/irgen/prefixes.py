"""The prefix tree of the identifiers that a decoder is trained on for each image of a batch.

The logits of a code depend on the image and on the codes before it alone. Targets of one image are identifiers of one
class, and begin with the same codes, at least with none: what they share is computed once for all of them.

Shape letters: B images, P identifiers of an image, M codes, L codebook size, F distinct prefixes of all images, Q of
the image that has the most, D dimensions.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """The prefixes of each image's identifiers, of lengths 0 to M-1, image by image; `of` counts equal ones once.

    Attention is computed image by image, `padded` to Q prefixes; everything else on the F prefixes alone.
    """

    example: Tensor  # [F] where in codes [B·P,M], flattened, one of the codes stands that the prefix precedes
    number: Tensor  # [B·P,M] of the prefix that precedes each code
    place: Tensor  # [F] of each prefix in [B,Q], flattened
    rows: Tensor  # [B,Q] the prefix at each place; past the last one of an image some other prefix, to be ignored
    begins_with: Tensor  # [B,Q,Q] bool: is the second prefix a beginning of the first, or the same?

    @classmethod
    def of(cls, codes: Tensor, num_images: int, codebook_size: int) -> Self:
        """Return the tree of codes [B·P,M] of `num_images` images, P identifiers of each, one after another.

        On a GPU nothing is shared: the host would wait for the number of prefixes, in every step.
        """
        if len(codes) == num_images or codes.device.type != "cpu":
            return cls.apart(codes, num_images)
        numbers = _numbers(codes, num_images, codebook_size)
        M, F, device = codes.shape[1], int(numbers.max()) + 1, codes.device
        example = torch.empty(F, dtype=torch.long, device=device)
        # which identifier of several stands for a prefix makes no difference; the last one does so on every device
        example.scatter_reduce_(
            0, numbers.flatten(), torch.arange(codes.numel(), device=device), "amax", include_self=False
        )
        image, order = (example // (codes.numel() // num_images)).sort(stable=True)
        example = example[order]
        number = torch.empty_like(order).scatter_(0, order, torch.arange(F, device=device))[numbers]

        count = torch.bincount(image, minlength=num_images)  # [B]
        first, Q = count.cumsum(0) - count, int(count.max())
        slot = torch.arange(F, device=device) - first[image]
        rows = first[:, None] + torch.arange(Q, device=device).clamp(max=count[:, None] - 1)
        ancestors = number[example // M]  # [F,M] all prefixes of an identifier that has the prefix
        is_shorter = torch.arange(M, device=device) <= (example % M)[:, None]
        begins_with = torch.zeros(F, Q, dtype=torch.bool, device=device).scatter_(1, slot[ancestors], is_shorter)
        return cls(example, number, image * Q + slot, rows, begins_with[rows])

    @classmethod
    def apart(cls, codes: Tensor, num_images: int) -> Self:
        """Return the tree of `of` with the prefixes of each identifier for itself: F = B·P·M and Q = P·M."""
        M, Q, device = codes.shape[1], codes.numel() // num_images, codes.device
        every, place = torch.arange(codes.numel(), device=device), torch.arange(Q, device=device)
        is_own = (place // M)[:, None] == place // M
        begins_with = is_own & (place % M <= (place % M)[:, None])
        return cls(every, every.view_as(codes), every, every.view(num_images, Q), begins_with.expand(num_images, Q, Q))

    def padded(self, x: Tensor) -> Tensor:
        """Return [B,Q,D] of x [F,D]."""
        return x[self.rows]

    def packed(self, x: Tensor) -> Tensor:
        """Return [F,D] of x [B,Q,D]."""
        return x.flatten(0, 1)[self.place]


def _numbers(codes: Tensor, num_images: int, codebook_size: int) -> Tensor:
    """Return a number [B·P,M] of the prefix before each code: the same for the same image and codes, from 0 on."""
    prefix = torch.arange(num_images, device=codes.device).repeat_interleave(len(codes) // num_images)
    numbers, start = [prefix], num_images
    for code in codes.T[:-1]:
        found, prefix = torch.unique(prefix * codebook_size + code, return_inverse=True)
        numbers.append(prefix + start)
        start += len(found)
    return torch.stack(numbers, dim=1)
