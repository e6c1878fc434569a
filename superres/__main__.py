"""``python -m superres``, and ``torchrun ... -m superres`` for trainings on several GPUs."""

from superres.cli import main

if __name__ == "__main__":
    main()
