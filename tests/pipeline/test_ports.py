"""What an exception of a training says of its worker: its memory, its device, or the code that ran."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from pipeline.ports import Loss, attempt, cause_of
from trainers.errors import ConfigError, DataError, GansearchError, IntegrityError, Unreachable, UserError


class AcceleratorError(RuntimeError):
    """torch's, by its name."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "device_memory"),
        (AcceleratorError("CUDA error: out of memory"), "device_memory"),
        (RuntimeError("CUDA driver error: out of memory"), "device_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "device_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"), "device_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), "device_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "device_memory"),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "device_memory"),
        (
            RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
            "device_memory",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), "host_memory"),
        (MemoryError(), "host_memory"),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype(float)), "host_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), "host_memory"),
        (RuntimeError("unable to mmap 64 bytes from file </x>: Cannot allocate memory (12)"), "host_memory"),
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), "worker_lost"),
        (AcceleratorError("something new"), "worker_lost"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"), "worker_lost"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "worker_lost"),
        (
            RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR"),
            "worker_lost",
        ),
        (RuntimeError("CUDA driver error: unknown error"), "worker_lost"),
        (RuntimeError("No CUDA GPUs are available"), "worker_lost"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), "user_error"),
        (RuntimeError("Input type (torch.cuda.FloatTensor) and weight type should be the same"), "user_error"),
        (ValueError("my metric knows no CUDA error"), "user_error"),
        (OSError(errno.ENOENT, "No such file or directory"), "user_error"),
    ],
    ids=str,
)
def test_a_broken_device_and_a_lack_of_memory_are_no_mistake_of_the_users(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause
    assert attempt_at(error).cause == cause


def attempt_at(error: Exception) -> Loss:
    def fails():
        raise error

    lost = attempt(fails)
    assert isinstance(lost, Loss)
    return lost


@pytest.mark.parametrize("error", [UserError, ConfigError, DataError])
def test_a_trial_that_cannot_be_built_is_the_loss_of_that_trial_in_the_errors_own_words(error: type[UserError]) -> None:
    lost = attempt_at(error("network dcgan needs square images"))
    assert (lost.cause, lost.detail) == ("user_error", "network dcgan needs square images")
    assert "Traceback" in lost.traceback


@pytest.mark.parametrize("error", [IntegrityError, Unreachable, GansearchError])
def test_what_concerns_more_than_one_trial_is_an_error_of_the_search(error: type[GansearchError]) -> None:
    with pytest.raises(error, match="the store"):
        attempt_at(error("the store"))
