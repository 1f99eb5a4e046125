"""PyTorch's side of `dfk benchmark gpu`, in a process of its own; only that imports PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from dfk.benchmarks.gpu.ours import noise
from dfk.benchmarks.gpu.plan import Case, Plan, asked, config_of, problem_of

_VARIANTS = ("eager", "compiled")


def make(plan: Plan) -> Theirs:
    """Starts PyTorch with what makes it fast."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return Theirs(plan)


class Theirs:
    """What the process is asked for, by name; each answers a dictionary of figures."""

    def __init__(self, plan: Plan):
        import torch

        self._plan = plan
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        return asked(self, do, arguments)

    def about(self) -> dict[str, Any]:
        """The GPU's name, "" without one; the version; FLOP/s of products of matrices."""
        import torch

        if self._device == "cpu" and self._plan.on_gpu:
            return {"gpu": ""}
        side, times = self._plan.matrix, 8
        a = torch.ones(side, side, dtype=torch.bfloat16, device=self._device)

        def products() -> None:
            x = a
            for _ in range(times):
                x = x @ a
            self._wait()

        seconds = self._median(products)
        name = "a CPU" if self._device == "cpu" else torch.cuda.get_device_name()
        return {"gpu": name, "rate": times * 2 * side**3 / seconds, "version": torch.__version__}

    def prepare(self, case: Case) -> dict[str, Any]:
        """Builds a training in each variant and runs it, which compiles; says which failed."""
        import torch

        from dfk.benchmarks.gpu.torch_batches import Batches

        if self._device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(0)
        config = config_of(case)
        images = noise(self._plan.images, case.side * 5 // 4)
        self._case, self._batches = case, Batches(images, config, self._device)
        self._trainings, problems = {}, {}
        for name in _VARIANTS[: 1 + self._plan.compiled]:
            try:
                training = _Training(config, self._device, compiled=name == "compiled")
                for _ in range(3):
                    training.step(*self._fixed())
                self._trainings[name] = training
            except Exception as error:  # Of a variant: the other one is measured all the same.
                problems[name] = problem_of(error)
        return {"problems": problems}

    def measure(self) -> dict[str, Any]:
        """Seconds an image: steps of each variant, and epochs of the faster from either source."""
        case, figures = self._case, {}
        batch = self._fixed()
        for name, training in self._trainings.items():

            def steps(training=training) -> None:
                for _ in range(4):
                    training.step(*batch)
                self._wait()

            figures[name] = self._median(steps) / (4 * case.batch)
        if figures:
            best = self._trainings[min(figures, key=figures.get)]
            for name in ("resident", "loader"):
                figures[name] = self._epoch(best, getattr(self._batches, name))
        return figures

    def peak(self) -> dict[str, Any]:
        """The most memory of the device that was in use at a time since `prepare`, in bytes."""
        import torch

        return {"peak": torch.cuda.max_memory_allocated() if self._device == "cuda" else None}

    def _epoch(self, training: _Training, batches: Callable[[], Iterator]) -> float:
        """Seconds an image of an epoch, the best of two or as many as fit in after the first."""
        seen = self._plan.images // self._case.batch * self._case.batch

        def epoch() -> None:
            loss = None
            for batch in batches():
                loss = training.step(*batch)
            loss.item()  # Looked at once: nothing waits for it before.

        return self._median(epoch) / seen

    def _fixed(self) -> tuple:
        return self._batches.fixed()

    def _median(self, run: Callable[[], object]) -> float:
        """The median of the seconds of runs after the first, two or as many as fit in."""
        run()
        taken, start = [], time.perf_counter()
        while len(taken) < 2 or time.perf_counter() - start < self._plan.seconds:
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    def _wait(self) -> None:
        import torch

        if self._device == "cuda":
            torch.cuda.synchronize()


class _Training:
    """A network in channels last and bfloat16 autocast, its optimizer and its average."""

    def __init__(self, config: Any, device: str, *, compiled: bool):
        import torch

        from dfk.benchmarks import torch_networks
        from dfk.benchmarks.gpu.torch_batches import BFLOAT16

        options = {}
        if config.model == "residual":
            filters = tuple(map(int, config.options.filters))
            options = {"filters": filters, "high_pass": config.options.high_pass}
        network = getattr(torch_networks, config.model)(**options)
        network = network.to(device, memory_format=torch.channels_last).train()
        self._parameters = list(network.parameters())
        self._optimizer = _optimizer(config, self._parameters, device)
        self._averages = [x.detach().clone() for x in self._parameters] if config.fit.ema else []
        self._share, self._autocast = 1 - config.fit.ema, torch.autocast(device, BFLOAT16)
        # CUDA graphs: many steps of small networks are bound by launches without them.
        mode = "reduce-overhead" if device == "cuda" else "default"
        self._forward = torch.compile(network, mode=mode) if compiled else network
        self._compiled = compiled

    def step(self, images: Any, labels: Any, weights: Any) -> Any:
        """A step on images [B, 3, H, W] and labels [B, C]; the loss, which is not waited for."""
        import torch

        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()
        with self._autocast:
            logits = self._forward(images)
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        loss = (losses if weights is None else losses * weights).mean()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._averages:
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, self._parameters, self._share)
        return loss.detach()


def _optimizer(config: Any, parameters: list, device: str) -> Any:
    import torch

    options = {"lr": config.fit.learning_rate, "weight_decay": config.fit.weight_decay}
    options["fused"] = device == "cuda"
    if config.fit.optimizer == "adam":
        return torch.optim.AdamW(parameters, **options)
    return torch.optim.SGD(parameters, momentum=config.fit.momentum, nesterov=True, **options)
