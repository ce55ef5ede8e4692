"""Where a peer's weight stands in our models: one function a model, of torch operations, so that gradients pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit.diffusion.denoisers import sinusoidal
from nbkit.errors import UserError, nearest

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, Tensor]
LETTERS = {"image": "v", "text": "t"}  # what MMRec calls a modality in places


def _layer(ours: str, theirs: str, arrays: Tensors) -> dict[str, Tensor]:
    return {f"{ours}.{part}": arrays[f"{theirs}.{part}"] for part in ("weight", "bias")}


def _projected(arrays: Tensors) -> dict[str, Tensor]:
    """Raw features and their projections, of the modalities that there are."""
    ours: dict[str, Tensor] = {}
    for m in LETTERS:
        if f"{m}_trs.weight" in arrays:
            ours |= _layer(f"content.{m}.project", f"{m}_trs", arrays)
            ours[f"content.{m}.features.table"] = arrays[f"{m}_embedding.weight"]
    return ours


def _nodes(users: str, items: str) -> Callable[[Tensors, Arrays], dict[str, Tensor]]:
    return lambda arrays, features: {"nodes": torch.cat([arrays[users], arrays[items]])}


_ids = _nodes("user_embedding.weight", "item_id_embedding.weight")


def _bpr(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    return {"users": arrays["user_embedding.weight"], "items": arrays["item_embedding.weight"]}


def _vbpr(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    # MMRec puts text before image; here modalities stand in the order of their names.
    text, weight = features["text"].shape[1], arrays["item_linear.weight"]
    return {
        "users": arrays["u_embedding"],
        "items": arrays["i_embedding"],
        "content.project.weight": torch.cat([weight[:, text:], weight[:, :text]], dim=1),
        "content.project.bias": arrays["item_linear.bias"],
    }


def _freedom(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    return {**_ids(arrays, features), **_projected(arrays)}


def _bm3(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    return {**_freedom(arrays, features), **_layer("predictor", "predictor", arrays)}


def _mgcn(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    ours = {**_freedom(arrays, features), **_layer("side.fusion.ask", "query_common.0", arrays)}
    ours["side.fusion.query.weight"] = arrays["query_common.2.weight"]
    for place, (m, letter) in enumerate(LETTERS.items()):
        ours |= _layer(f"side.maps.{place}", f"gate_{letter}.0", arrays)
        ours |= _layer(f"side.fusion.gates.{place}", f"gate_{m}_prefer.0", arrays)
    return ours


def _pgl(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    return {**{f"users.{m}": arrays[f"user_{m}.weight"] for m in LETTERS}, **_projected(arrays)}


def _slmrec(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    ours = _nodes("embedding_user.weight", "embedding_item.weight")(arrays, features)
    for m, letter in LETTERS.items():
        ours |= _layer(f"content.{m}.project", f"{letter}_dense", arrays)
    for place, side in enumerate(("user", "item")):
        ours |= _layer(f"fuse.{place}", f"embedding_{side}_after_GCN", arrays)
    ours |= _layer("coarser.image", "g_i_iv", arrays)
    # MMRec has a linear map where an audio space would lie between both: here one map is the product.
    between, last = (_layer("", name, arrays) for name in ("g_iv_iva", "g_iva_ivat"))
    ours["coarser.text.weight"] = last[".weight"] @ between[".weight"]
    ours["coarser.text.bias"] = last[".weight"] @ between[".bias"] + last[".bias"]
    # The biases of these two add the same to all logits of a row, which no loss sees; there are none here.
    return ours | {"modal.image.weight": arrays["g_v_iv.weight"], "modal.text.weight": arrays["g_t_ivat.weight"]}


def _mmgcn(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    users, items = arrays["id_embedding"].tensor_split([len(arrays["v_gcn.preference"])])
    ours = {"users": users, "items": items}
    for m, letter in LETTERS.items():
        mine, gcn = f"modal.{m}", f"{letter}_gcn"
        ours[f"{mine}.preference"] = arrays[f"{gcn}.preference"]
        if f"{gcn}.MLP.weight" in arrays:
            ours |= _layer(f"{mine}.narrow", f"{gcn}.MLP", arrays)
        for hop in range(3):
            message, joined = arrays[f"{gcn}.conv_embed_{hop + 1}.weight"], arrays[f"{gcn}.g_layer{hop + 1}.weight"]
            ours |= _layer(f"{mine}.hops.{hop}.own", f"{gcn}.linear_layer{hop + 1}", arrays)
            ours[f"{mine}.hops.{hop}.message.weight"] = message.T
            ours[f"{mine}.hops.{hop}.from_neighbours.weight"] = joined[:, : len(message)]
            ours[f"{mine}.hops.{hop}.from_neighbours.bias"] = arrays[f"{gcn}.g_layer{hop + 1}.bias"]
            ours[f"{mine}.hops.{hop}.from_own.weight"] = joined[:, len(message) :]
    return ours


def _dualgnn(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    first, second = arrays["weight_u"].squeeze(2).unbind(1)
    # Its text is added to its image in place, so that the first weight falls on both.
    ours = {"weights": torch.stack([first, first + second], dim=1)}
    for m, letter in LETTERS.items():
        ours[f"preferences.{m}"] = arrays[f"{letter}_gcn.preference"]
        ours |= _layer(f"content.{m}.0", f"{letter}_gcn.MLP", arrays)
        ours |= _layer(f"content.{m}.2", f"{letter}_gcn.MLP_1", arrays)
    return ours


def _diffmm(arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    ours = {**_nodes("uEmbeds", "iEmbeds")(arrays, features), "fusion": arrays["modal_weight"]}
    for m in LETTERS:
        net = f"diffusion.denoisers.{m}"
        ours[f"content.{m}.project.weight"] = arrays[f"{m}_trans"].T
        ours |= _layer(f"{net}.hidden.0", f"{m}.in_layers.0", arrays)
        ours |= _layer(f"{net}.output", f"{m}.out_layers.0", arrays)
        ours |= _time_code(f"{net}.time", _layer("", f"{m}.emb_layer", arrays))
    # Both rebuild the graphs from the denoisers before a loss is compared.
    ours["edges"] = torch.full((len(LETTERS), len(arrays["uEmbeds"]), 1), -1)
    return ours


def _time_code(ours: str, theirs: Tensors) -> dict[str, Tensor]:
    """Two layers that answer at t = 1 … 5 what one linear map answers at 0 … 4: the outer solves five equations."""
    dim, steps = len(theirs[".bias"]), torch.arange(5)
    known = F.silu(sinusoidal(steps + 1, dim))  # of an inner layer that is the identity
    solved = torch.linalg.pinv(F.pad(known, (0, 1), value=1.0).double()).float()
    outer = solved @ (sinusoidal(steps, dim) @ theirs[".weight"].T + theirs[".bias"])
    return {
        f"{ours}.inner.weight": torch.eye(dim),
        f"{ours}.inner.bias": torch.zeros(dim),
        f"{ours}.outer.weight": outer[:-1].T,
        f"{ours}.outer.bias": outer[-1],
    }


KNOWN: dict[str, Callable[[Tensors, Arrays], dict[str, Tensor]]] = {
    "bpr": _bpr,
    "lightgcn": _nodes("embedding_dict.user_emb", "embedding_dict.item_emb"),
    "vbpr": _vbpr,
    "freedom": _freedom,
    "bm3": _bm3,
    "mgcn": _mgcn,
    "pgl": _pgl,
    "slmrec": _slmrec,
    "mmgcn": _mmgcn,
    "dualgnn": _dualgnn,
    "da_mrs": _ids,
    "diffmm": _diffmm,
}


def from_peer(model: str, arrays: Tensors, features: Arrays) -> dict[str, Tensor]:
    """A peer's weights under our names, in our layout; differentiable, so that our gradients lead back to its arrays.

    Raises:
        UserError: no correspondence is known for the model.
    """
    if model not in KNOWN:
        raise UserError(f"no correspondence with a peer's weights for {model!r}; {nearest(model, KNOWN)}")
    return KNOWN[model](arrays, features)
