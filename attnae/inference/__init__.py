"""Inference with trained models: apply, encode, decode, sample, export.

``load`` opens a run or an exported model, ``images`` reads what a model is applied to, ``tiles`` makes a model fit images of
any size, and ``apply``, ``codes``, ``sample`` and ``export`` are one command each; ``commands`` says how they are typed.
This package knows papers by what :class:`attnae.training.task.ImageTask` says about them only: a new one needs no change here.
"""
