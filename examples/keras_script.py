"""tfcausal in a Keras script: compile, fit, evaluate, intervene.

    python examples/keras_script.py DATASET

DATASET is a folder that ingest, split and popularity have filled; `make demo` leaves
one in demo/dataset.
"""

import os
import sys
from pathlib import Path

import tfcausal

# TensorFlow's notes at its start read like failures; what fails raises in any case. It
# must be set before TensorFlow is imported; the command line does the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(folder: Path) -> None:
    """Fits DICE for a few epochs and shows what the weight of conformity does."""
    dataset = tfcausal.open_dataset(folder)
    dice = tfcausal.methods.get("dice")
    model = dice.of_dataset(dataset, dice.options_class(learning_rate=0.003))
    options = tfcausal.TrainingOptions(batch_size=1024, steps_per_execution=8)
    batches = tfcausal.training_batches(dataset, model, options)
    tfcausal.compile_model(model, options)  # with the row-sparse Adam
    model.fit(
        batches.dataset(0, 5),
        epochs=5,
        steps_per_epoch=batches.steps_per_epoch,
        callbacks=[tfcausal.Curriculum()],
        verbose=2,
    )

    protocol = tfcausal.protocol("dice")
    test = tfcausal.evaluation_set(dataset, "test", protocol)
    curve = tfcausal.weight_curve(
        model.vectors(), test, protocol, cause="conformity", weights=[0, 0.5, 1, 2]
    )
    for point in curve:
        print(
            f"do(conformity = {point['weight']:3.1f})  "
            f"recall@20 {point['recall@20']:.4f}  "
            f"popularity of what is shown {point['popularity@20']:.0f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
