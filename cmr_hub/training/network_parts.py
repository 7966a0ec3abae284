"""Cutting a network in two, so that the part that stays as it is runs once and the part that learns every step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from cmr_hub.errors import InputError


def cut_after(network: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """A network of one input and one output as two that make it up; both share its parameters.

    Args:
        network: any that torch.fx can trace, as convolutional networks mostly can.
        name: a module of it ("layer3", "blocks.4"), the last of the first part. Where a sum or the like goes with it
            that is no module (a residual block's), the cut is behind that.

    Returns:
        The part up to `name`, and the rest.

    Raises:
        InputError: the network has no such module or cannot be traced, or the rest has no parameters.

    Example:
    ```python
    >>> import torch
    >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> first, rest = cut_after(network, "1")
    >>> x = torch.ones(1, 3)
    >>> torch.equal(rest(first(x)), network(x))
    True
    ```
    """
    whole = Whole(network)
    try:
        graph = LeafTracer().trace(whole)
    except Exception as error:  # tracing runs the network's own code, which may fail in any way
        raise InputError(
            f"{type(network).__name__} cannot be cut in two ({error}): leave nothing of it frozen, or choose another "
            "encoder."
        ) from error
    nodes = list(graph.nodes)
    path = f"network.{name}"
    inside = [at for at, node in enumerate(nodes) if node.op == "call_module" and is_part(str(node.target), path)]
    if not inside:
        raise InputError(f"The image network has no part {name!r}. It has {', '.join(part_names(nodes))}.")
    cut = next(at for at in range(inside[-1], len(nodes)) if _alone(nodes, at))
    rest = _part(whole, nodes[cut:], given=nodes[cut])
    if not list(rest.parameters()):
        raise InputError(f"Behind {name!r} nothing of the image network is left to learn: name an earlier part.")
    return _part(whole, nodes[: cut + 1], result=nodes[cut]), rest


def is_part(path: str, of: str) -> bool:
    """Whether one dotted path is another, or leads into it."""
    return path == of or path.startswith(f"{of}.")


def part_names(nodes: Sequence[fx.Node]) -> list[str]:
    """The names of a network's parts ("conv_stem", "blocks.0"), in the order of their work, to two levels."""
    modules = [str(node.target).split(".")[1:] for node in nodes if node.op == "call_module"]
    return list(dict.fromkeys(".".join(path[:2]) for path in modules))


def _alone(nodes: Sequence[fx.Node], at: int) -> bool:
    """Whether what comes after a node reads nothing of what came before it."""
    done = set(nodes[: at + 1])
    return all(user in done for node in nodes[:at] for user in node.users)


def _part(
    whole: nn.Module, nodes: Sequence[fx.Node], given: fx.Node | None = None, result: fx.Node | None = None
) -> fx.GraphModule:
    """Some of a network's work as a module: from the value `given` on, or up to the value `result`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        copies[node] = graph.placeholder("given") if node is given else graph.node_copy(node, copies.__getitem__)
    if result is not None:
        graph.output(copies[result])
    return fx.GraphModule(whole, graph).eval()


class Whole(nn.Module):
    """A network with the hooks on it: a tracer leaves out those of the module that it traces itself."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network(inputs)


class LeafTracer(fx.Tracer):
    """Looks into no module that has none inside: what timm's padding computes of a size cannot be traced."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return super().is_leaf_module(module, name) or not any(module.children())
