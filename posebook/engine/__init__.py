"""Training: the loop, its checkpoints, and the book's small recipe (`posebook.engine.mini`)."""
from posebook.engine.loop import (EpochSampler, Trainer, build_loader, collate, evaluate,
                                  load_checkpoint_file, predict, save_atomically, seed_everything)

__all__ = ['EpochSampler', 'Trainer', 'build_loader', 'collate', 'evaluate', 'load_checkpoint_file',
           'predict', 'save_atomically', 'seed_everything']
