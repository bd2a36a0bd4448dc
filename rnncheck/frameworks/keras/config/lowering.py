"""Wrappers, stacks of cells and nested models, written out as the layers that the replay knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config import calls
from rnncheck.frameworks.keras.config import implicit_masks as masks
from rnncheck.frameworks.keras.config.calls import Arguments, Call, Value, first_mask, flat, leaves
from rnncheck.frameworks.keras.config.description import Object, is_operation, name_of
from rnncheck.frameworks.keras.config.entries import ENTRIES, NO_FLAGS
from rnncheck.frameworks.keras.config.functional import operation, read_graph
from rnncheck.frameworks.keras.config.implicit_masks import AnyMask, Mask
from rnncheck.frameworks.keras.config.values import constant
from rnncheck.network import UNCHECKED, Layer, Tensor
from rnncheck.rounding.precision import PRECISIONS

# What these layers give, Keras first rounds to the format of what they are given.
_KEEP_FORMAT = ("LayerNormalization", "GroupNormalization")

# The layer that does what a merge_mode of Bidirectional says.
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "concat": "Concatenate"}
Tensors = Sequence[Tensor]

# Models that are called twice each, one in the other, double with each level.
_MOST_LAYERS = 10_000


@dataclass
class Lowering:
    """Collects lowered layers, in an order in which each comes after what it reads."""

    keras2: bool  # whether masks go where Keras 2 would hand them
    lenient: bool = False  # whether the output of a layer that is not replayed is taken as it is observed
    # Each still lacks its weights, which the object beside it has; None where it has none.
    layers: list[tuple[Layer, Object | None]] = field(default_factory=list)
    _masks: dict[str, Tensor] = field(default_factory=dict)  # those that are computed already
    _stateful: set[tuple[str, ...]] = field(default_factory=set)  # the paths of stateful objects that are in use
    _distributed: int = 0  # how many TimeDistributed are around what is being lowered

    def run_model(self, model: Object, inputs: Sequence[Value], prefix: str = "") -> list[Value]:
        """Lower the layers of a model, the whole one or one inside it; return its outputs."""
        if "input_layers" in model.config:
            return self._functional(model, inputs, prefix)
        values = list(inputs)
        for part in model.parts:
            given = values[0] if len(values) == 1 else values
            values = self._run(part, f"{prefix}{part.name}", Call((given,), {}))
        return values

    def _functional(self, model: Object, inputs: Sequence[Value], prefix: str) -> list[Value]:
        begin, nodes, end = read_graph(model)
        if len(begin) != len(inputs):
            raise InputError(
                f"model {model.name!r}: got {len(inputs)} inputs; expected {len(begin)}. Save the model again."
            )
        known: dict[calls.Node, list[Value]] = {each.call: [x] for each, x in zip(begin, inputs, strict=True)}

        def value(of: calls.Reference) -> Value:
            outputs = known[of.call]
            if not 0 <= of.index < len(outputs):
                said = f"output {of.index} of layer {of.layer!r} is read; expected one of its {len(outputs)}"
                raise InputError(f"model {model.name!r}: {said}.")
            return outputs[of.index]

        # How many outputs of each call are read.
        ends = [*leaves([list(call) for call in nodes.values()]), *end]
        count = {each.call: 1 for each in ends}
        for each in ends:
            count[each.call] = max(count[each.call], each.index + 1)
        described = {name_of(each): each for each in model.config["layers"]}
        parts = {part.name: part for part in model.parts}
        for (name, number), written in nodes.items():
            lowered = f"{prefix}{name}{f'@{number + 1}' if number else ''}"
            call = Call(*calls.mapped(written, value))
            if not is_operation(described[name]):
                known[name, number] = self._run(parts[name], lowered, call, count.get((name, number), 1))
            elif described[name]["class_name"] == "ConvertToTensor":
                known[name, number] = list(leaves(call.args, Value))
            else:
                try:
                    known[name, number] = [Value(self._add(operation(lowered, described[name], written, call)))]
                except UnsupportedError:
                    if not self.lenient or self._distributed:
                        raise
                    own = described[name]["class_name"]
                    known[name, number] = self._as_observed(lowered, own, call, count.get((name, number), 1))
        return list(map(value, end))

    # One call of a layer or nested model, in which every tensor is a `Value`.
    def _run(self, found: Object, name: str, call: Call, outputs: int = 1) -> list[Value]:
        layers, masks_known = len(self.layers), len(self._masks)
        try:
            return self._lowered(found, name, call)
        except UnsupportedError:
            # What is inside TimeDistributed is not observed sample by sample: the wrapper is taken whole.
            if not self.lenient or self._distributed:
                raise
        del self.layers[layers:]
        while len(self._masks) > masks_known:
            self._masks.popitem()
        return self._as_observed(name, found.kind, call, outputs, makes_mask=found.entry.masks in {"zeros", "values"})

    # The outputs of a layer that is not replayed, each with the mask that it may have.
    def _as_observed(
        self, name: str, kind: str, call: Call, outputs: int, *, makes_mask: bool = False
    ) -> list[Value]:
        inputs = list(leaves([list(call.args), dict(call.kwargs)], Value))
        masked = makes_mask or any(value.mask is not None for value in inputs)
        values = []
        for k in range(outputs):
            own = f"{name}:{k}" if k else name
            tensors = tuple(value.tensor for value in inputs)
            tensor = self._add(Layer(own, UNCHECKED, tensors, {} if k else {"class": kind}))
            values.append(Value(tensor, Mask(f"{own}/mask", UNCHECKED, ()) if masked else None))
        return values

    def _lowered(self, found: Object, name: str, call: Call) -> list[Value]:
        if found.refusal:
            raise found.refusal
        given = calls.bind(found, call, keras2=self.keras2)
        match found.entry.role:
            case "model":
                return self._model(found, name, given)
            case "layer":
                return self._layer(found, name, given)
            case "recurrent" | "rnn" | "bidirectional":
                return self._sequence_layer(found, name, given)
            case "time_distributed":
                return self._time_distributed(found, name, given)
        raise found.unsupported(f"{found.kind} is a cell; expected it inside an RNN layer.")

    # One more layer, and the object that has its weights; its first output.
    def _add(self, layer: Layer, owner: Object | None = None) -> Tensor:
        if len(self.layers) == _MOST_LAYERS:
            said = f"got more than {_MOST_LAYERS:,} layers once nested models are written out; expected fewer"
            raise InputError(f"model: {said}. A description of a few lines may stand for any number.")
        self.layers.append((layer, owner))
        return Tensor(layer.name)

    # A mask as a tensor, with the layers that compute it.
    def _explicit(self, mask: AnyMask) -> Tensor | None:
        if not isinstance(mask, Mask):
            return mask
        if mask.name not in self._masks:
            inputs = tuple(tensor for each in mask.inputs if (tensor := self._explicit(each)))
            self._masks[mask.name] = self._add(Layer(mask.name, mask.kind, inputs, mask.options, dtype=mask.dtype))
        return self._masks[mask.name]

    def _model(self, found: Object, name: str, given: Arguments) -> list[Value]:
        # A mask that the call gives to the model replaces the one that an input carries.
        values, given_masks = list(leaves(given.values["inputs"], Value)), flat(given.mask)
        if len(given_masks) == len(values):
            pairs = zip(values, given_masks, strict=True)
            values = [value if mask is None else Value(value.tensor, mask) for value, mask in pairs]
        return self.run_model(found, values, f"{name}/")

    def _layer(self, found: Object, name: str, given: Arguments) -> list[Value]:
        values, options = calls.tensors(found, given), dict(found.options)
        inputs = [value.tensor for value in values]
        if found.kind == "Attention":
            inputs += self._attention(found, given, inputs, options)
        elif _reads_mask(found) and (mask := self._explicit(first_mask(given.mask))):
            inputs.append(mask)
        precision = found.precision
        if found.kind in _KEEP_FORMAT:
            read = [layer.dtype for layer, _ in self.layers if layer.name == inputs[0].layer]
            precision = min([precision, *read], key=lambda name: PRECISIONS[name].digits)
            if {found.precision, *read} == {"float16", "bfloat16"}:  # neither holds the numbers of the other
                said = f"it reads {read[0]} and computes in {found.precision}, and so rounds twice"
                raise found.unsupported(f"{said}; expected one of these formats alone, or float32.")
        layer = Layer(name, found.kind, tuple(inputs), options, dtype=precision)
        output = self._add(layer, found if found.entry.weights else None)
        return [Value(output, self._output_mask(found, name, values, given.previous))]

    # The inputs that Attention has besides those given: the value as key, and masks, named in `masks`.
    def _attention(self, found: Object, given: Arguments, inputs: Tensors, options: dict[str, Any]) -> list[Tensor]:
        if given.values.get("return_attention_scores"):
            raise found.unsupported("it is called with return_attention_scores=True; expected the output alone.")
        given_masks = given.mask if isinstance(given.mask, list) else [given.mask]
        explicit = zip(("query", "value"), map(self._explicit, given_masks), strict=False)
        named = {which: mask for which, mask in explicit if mask is not None}
        options["use_causal_mask"] = bool(given.values.get("use_causal_mask"))
        options["masks"] = tuple(named)
        return [*([inputs[1]] if len(inputs) == 2 else []), *named.values()]

    # The mask of a layer's output, as its compute_mask gives it.
    def _output_mask(self, found: Object, name: str, values: Sequence[Value], previous: Any) -> AnyMask:
        inputs, options = [value.tensor for value in values], found.options
        several = previous if isinstance(previous, list) else [previous]
        match found.entry.masks:
            case "zeros" if options["mask_zero"]:
                return masks.nonzero(name, inputs[0])
            case "values":
                return masks.differing(name, inputs[0], options["mask_value"], found.precision)
            case "merge":
                return masks.merged(name, several, keras2=self.keras2)
            case "concatenate":
                return masks.joined(name, inputs, several, options["axis"], keras2=self.keras2)
            case "pass" | "first":
                return first_mask(previous)
        return None

    def _sequence_layer(self, found: Object, name: str, given: Arguments) -> list[Value]:
        x, *others = calls.tensors(found, given)
        if others:
            raise found.unsupported("it reads a list of tensors; expected one sequence.")
        initial = list(self._states(found, name, given.values.get("initial_state")))
        lower = self._bidirectional if found.entry.role == "bidirectional" else self._recurrent
        outputs = lower(found, name, x.tensor, initial, first_mask(given.mask))
        # The sequences have a mask; the final states, which follow them, have none.
        passed = first_mask(given.previous) if _flag(found, "return_sequences") else None
        sequences = 2 if found.options.get("merge_mode", "") is None else 1
        return [Value(tensor, passed if k < sequences else None) for k, tensor in enumerate(outputs)]

    # The initial states; constants become layers that give them.
    def _states(self, found: Object, name: str, given: Any) -> Iterator[Tensor]:
        for k, state in enumerate(flat(given)):
            if isinstance(state, Value):
                yield state.tensor
            elif (value := constant(state)) is not None:
                own, weights = f"{name}/initial_state_{k}", {"value": value}
                yield self._add(Layer(own, "Constant", weights=weights, dtype=found.precision))
            else:
                raise found.unsupported(f"initial_state is {type(state).__name__}; expected tensors or arrays.")

    # A recurrent layer or an RNN: one layer for each cell, each reading the one below.
    def _recurrent(self, found: Object, name: str, x: Tensor, initial: Tensors, mask: AnyMask) -> list[Tensor]:
        # What steps through time: the layer itself, the cell of an RNN, or the cells of its stack.
        (cell,) = [found] if found.entry.role == "recurrent" else found.parts
        cells = cell.parts if cell.kind == "StackedRNNCells" else [cell]
        self._check(found, cells, initial)
        flags = {flag: found.options[flag] for flag in NO_FLAGS}
        left, counts = list(initial), self._explicit(mask)
        finals: list[Tensor] = []
        for k, cell in enumerate(cells):
            last = k == len(cells) - 1
            if k == 1 and flags["go_backwards"]:  # what the others read is in the order of processing already
                flags["go_backwards"] = False
                turned = f"{name}/reverse_mask"
                counts = counts and self._add(Layer(turned, "Reverse", (counts,), dtype=found.precision))
            own, left = left[: _state_count(cell)], left[_state_count(cell) :]
            layer = Layer(
                name if last else f"{name}/{k}_{cell.name}",
                cell.kind.removesuffix("Cell"),
                (x,),
                {**cell.options, **flags} | ({} if last else {"return_sequences": True}),
                dtype=cell.precision,
                mask=counts,
                initial_state=tuple(own),
            )
            x = self._add(layer, cell)
            finals += [Tensor(layer.name, 1 + s) for s in range(_state_count(cell))]
        return [x, *finals] if flags["return_state"] else [x]

    # Refuse what Keras or rnncheck cannot run.
    def _check(self, found: Object, cells: Sequence[Object], initial: Tensors) -> None:
        for cell in cells:
            if cell is not found and cell.entry.role != "cell":
                kinds = ", ".join(kind for kind, entry in ENTRIES.items() if entry.role == "cell")
                raise found.unsupported(f"its cell {cell.name!r} is {cell.kind}; expected one of {kinds}.")
            if cell.precision != found.precision:
                own, other = found.precision, f"its cell {cell.name!r} in {cell.precision}"
                raise found.unsupported(f"it computes in {own}, {other}; expected the same.")
        expected = sum(map(_state_count, cells))
        if len(initial) not in {0, expected}:
            raise found.invalid(f"initial_state has {len(initial)} tensors; expected {expected}, all of its states.")
        if found.options["stateful"]:
            if found.path in self._stateful:
                said = "used more than once; expected one use, after which it keeps its state"
                raise found.unsupported(f"it is stateful and {said}.")
            if initial and self.keras2:
                said = "of which Keras 2 takes now one, now the other; expected only one of them"
                raise found.unsupported(f"it is stateful and has an initial_state, {said}.")
            self._stateful.add(found.path)

    # The two halves, the second turned round, and what merges them.
    # Source: Keras 3.15, Bidirectional.call.
    def _bidirectional(self, found: Object, name: str, x: Tensor, initial: Tensors, mask: AnyMask) -> list[Tensor]:
        for half in found.parts:
            if half.entry.role not in {"recurrent", "rnn"}:
                raise found.unsupported(f"it wraps {half.kind}; expected a recurrent layer such as LSTM.")
        middle = len(initial) // 2
        if len(initial) % 2:
            expected = "the forward layer's and then the backward layer's"
            raise found.invalid(f"initial_state has {len(initial)} tensors; expected {expected}.")
        (y, *ends), (y_rev, *ends_rev) = (
            self._recurrent(half, f"{name}/{half.name}", x, states, mask)
            for half, states in zip(found.parts, (initial[:middle], initial[middle:]), strict=True)
        )
        if _flag(found, "return_sequences"):
            y_rev = self._add(Layer(f"{name}/reverse", "Reverse", (y_rev,), dtype=found.precision))
        mode = found.options["merge_mode"]
        if mode is None:
            return [y, y_rev, *ends, *ends_rev]
        if mode not in _MERGES:
            expected = ", ".join([*_MERGES, "None"])
            raise found.unsupported(f"merge_mode={mode!r} is not replayed; expected one of {expected}.")
        options = {"axis": -1} if mode == "concat" else {}
        merged = self._add(Layer(name, _MERGES[mode], (y, y_rev), options, dtype=found.precision))
        return [merged, *ends, *ends_rev]

    # The inner layer on all steps at once: (N·T, ...).
    # Source: Keras 3.15, TimeDistributed.call, which runs it step by step, with a step of the mask each.
    def _time_distributed(self, found: Object, name: str, given: Arguments) -> list[Value]:
        x, *others = calls.tensors(found, given)
        (inner,) = found.parts
        self._check_distributed(found, inner, others)

        def fold(what: str, tensor: Tensor) -> Tensor:
            return self._add(Layer(f"{name}/{what}", "FoldTime", (tensor,), dtype=found.precision))

        folded = fold("fold", x.tensor)
        mask = self._explicit(first_mask(given.mask)) if inner.is_model or _reads_mask(inner) else None
        folded_mask = None if mask is None else fold("fold_mask", mask)
        self._distributed += 1
        try:
            outputs = self._run(inner, f"{name}/{inner.name}", Call((Value(folded, folded_mask),), {}))
        finally:
            self._distributed -= 1
        if len(outputs) != 1:
            raise found.unsupported(f"{inner.kind} inside it returns {len(outputs)} tensors; expected one.")
        layer = Layer(name, "UnfoldTime", (outputs[0].tensor, x.tensor), dtype=found.precision)
        return [Value(self._add(layer), first_mask(given.previous))]

    def _check_distributed(self, found: Object, inner: Object, others: Sequence[Value]) -> None:
        if others:
            raise found.unsupported(f"it reads {1 + len(others)} tensors; expected one sequence.")
        if not inner.is_model and inner.precision != found.precision:
            own, other = found.precision, f"{inner.name!r} inside it in {inner.precision}"
            raise found.unsupported(f"it computes in {own}, {other}; expected the same.")
        inside = f"{inner.kind} {inner.name!r} inside TimeDistributed"
        if any(_flag(part, "stateful") for part in inner.everything):
            raise found.unsupported(f"{inside} is stateful; expected a layer that is not.")
        if self.keras2 and any(p.kind == "Masking" or p.options.get("mask_zero") for p in inner.everything):
            raise found.unsupported(f"{inside} makes a mask; expected a layer that makes none.")


# BatchNormalization takes a mask, and reads it in training only.
def _reads_mask(found: Object) -> bool:
    return "mask" in found.entry.call and found.kind != "BatchNormalization"


# A flag of a recurrent layer; for Bidirectional, that of the forward half.
def _flag(found: Object, name: str) -> bool:
    while found.entry.role == "bidirectional":
        found = found.parts[0]
    return bool(found.options.get(name, False))


def _state_count(cell: Object) -> int:
    return 2 if "LSTM" in cell.kind else 1
