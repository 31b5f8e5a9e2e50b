"""A compute budget in a training by Lightning."""

from typing import Any

import lightning
from lightning.fabric.utilities import move_data_to_device

from spectral_stride import checks
from spectral_stride.torch.adopt.places import Sample
from spectral_stride.torch.budget.mac_budget import PRESENT, MacBudget


class BudgetCallback(lightning.Callback):
    """Trains a network to a cost: a `MacBudget` that steps where the optimizer does.

    Parameters
    ----------
    target : float
        As of `MacBudget`.
    sample : Tensor, tuple or dict, optional
        What the module is called on; its ``example_input_array`` by default. Pass a batch of one.
    steps : int, optional
        Of the whole training; by default as Lightning estimates them.
    **options
        Of `MacBudget`.

    Attributes
    ----------
    budget : MacBudget or None
        From the start of the training on.

    Raises
    ------
    ValueError, TypeError
        As of `MacBudget`, when the training starts.

    Notes
    -----
    Checkpoints of the trainer hold its state. A network that was settled crops hard: build it with
    ``hard=True`` to load its weights elsewhere.

    Examples
    --------
    >>> import lightning, torch
    >>> from spectral_stride.torch.training.budget_callback import BudgetCallback
    >>> callback = BudgetCallback(0.5, torch.zeros(1, 3, 32, 32))
    >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    >>> trainer = lightning.Trainer(callbacks=[callback], accelerator="cpu", **quiet)
    >>> callback.budget  # made when trainer.fit(module, data) starts
    """

    def __init__(
        self,
        target: float,
        sample: Sample | None = None,
        *,
        steps: int | None = None,
        **options: Any,
    ) -> None:
        self.budget: MacBudget | None = None
        self._target, self._sample, self._steps = target, sample, steps
        self._options = options
        self._state: dict[str, Any] = {}
        self._step = 0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Make the budget of the network as it is now."""
        sample = pl_module.example_input_array if self._sample is None else self._sample
        if sample is None:
            remedy = "write BudgetCallback(target, sample), or set module.example_input_array"
            checks.refuse(ValueError, "sample", "none", "what the module is called on", remedy)
        sample = move_data_to_device(sample, pl_module.device)
        steps = self._steps or int(trainer.estimated_stepping_batches)
        target, options = self._target, self._options
        if self._state:
            # With it come its own target, which need not be a share of what is left by now, and
            # its own strides.
            target, options = 1.0, options | {"begin": PRESENT}
        self.budget = MacBudget(pl_module, sample, target, steps=steps, **options)
        if self._state:
            self.budget.load_state_dict(self._state)
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Step, where the optimizer has made a step."""
        if self.budget is not None and trainer.global_step > self._step:
            self._step = trainer.global_step
            self.budget.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the budget, for a checkpoint."""
        return self.budget.state_dict() if self.budget else self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the training starts."""
        self._state = state_dict
