"""Training: the loop, its checkpoints, and recipes (`posebook.engine.recipes`)."""
from posebook.engine.loop import (EpochSampler, ResumeError, Trainer, build_loader, collate, evaluate,
                                  load_checkpoint_file, predict, seed_everything)
from posebook.checkpoints.reader import save_atomically

__all__ = ['EpochSampler', 'ResumeError', 'Trainer', 'build_loader', 'collate', 'evaluate',
           'load_checkpoint_file', 'predict', 'save_atomically', 'seed_everything']
