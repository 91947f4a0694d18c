"""xaipipe.ops.stabilised_divide against its formula in numpy, and everything torch expects of an op."""

import shutil
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from xaipipe.ops import _library, stabilised_divide

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
BITS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}
EPSILONS = (0.0, 1e-6, 0.25, 1e-45, 1e30)
SPECIALS = (0.0, -0.0, 1.0, -1.0, 0.3, -1e-6, 1e-40, -1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan)

needs_cuda = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.kernels().build_info()["cuda"]),
    reason="needs a CUDA device, torch with CUDA and kernels built with CUDA",
)


# -- the oracle: every step in float64, rounded to the type computed in (exact: 53 >= 2·24 + 2 bits) --


def oracle(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    computed_in = np.float64 if z.dtype == torch.float64 else np.float32

    def rounded(values: np.ndarray) -> np.ndarray:
        return values.astype(computed_in).astype(np.float64)

    with np.errstate(all="ignore"):
        numerator, base = relevance.double().numpy(), z.double().numpy()
        sign = np.where(base < 0, -1.0, 1.0)
        quotient = rounded(numerator / rounded(base + sign * rounded(np.array(eps))))
        quotient = np.where(np.isnan(quotient), np.nan, quotient).astype(computed_in)
    quotient = np.asarray(quotient)  # numpy turns results without axes into scalars
    return round_to_bf16(quotient) if z.dtype == torch.bfloat16 else torch.from_numpy(quotient)


def round_to_bf16(values: np.ndarray) -> Tensor:
    """To nearest, ties to even, on the bits of float32."""
    bits = values.view(np.uint32).astype(np.uint64)
    upper = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    upper = np.where(np.isnan(values), np.uint16(0x7FC0), upper)
    return torch.from_numpy(np.asarray(upper).view(np.int16)).view(torch.bfloat16)


def assert_same_bits(got: Tensor, expected: Tensor) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert torch.equal(bits(got), bits(expected))


def bits(values: Tensor) -> Tensor:
    return values.contiguous().view(BITS[values.dtype])


def numbers(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Half normal numbers, half the ones that matter."""
    random = np.random.default_rng(seed)
    ordinary = random.normal(size=shape)
    values = np.where(random.random(shape) < 0.5, ordinary, random.choice(SPECIALS, size=shape))
    return torch.tensor(values).to(dtype)


@pytest.fixture
def restore_isa() -> Iterator[None]:
    yield
    _library.kernels().set_isa("auto")


@pytest.fixture
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# -- values --


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_of_either_zero_is_positive(dtype: torch.dtype) -> None:
    z = torch.tensor([0.0, -0.0, -1.0, 1.0], dtype=dtype)
    result = stabilised_divide(torch.ones(4, dtype=dtype), z, 1.0)
    assert result.tolist() == [1.0, 1.0, -0.5, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_eps_zero_is_ieee_division(dtype: torch.dtype) -> None:
    relevance = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0], dtype=dtype)
    z = torch.tensor([-0.0, 0.0, 0.0, np.nan, -np.inf], dtype=dtype)
    result = stabilised_divide(relevance, z, 0.0)
    expected = torch.tensor([np.inf, -np.inf, np.nan, np.nan, -0.0], dtype=dtype)
    assert_same_bits(result, expected)


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_arrays_agree_with_the_formula(dtype: torch.dtype, eps: float) -> None:
    relevance, z = numbers((200_003,), dtype, 1), numbers((200_003,), dtype, 2)
    assert_same_bits(stabilised_divide(relevance, z, eps), oracle(relevance, z, eps))


def as_it_is(x: Tensor) -> Tensor:
    return x


def reversed_axes(x: Tensor) -> Tensor:
    return x.permute(tuple(reversed(range(x.dim()))))


def every_other(x: Tensor) -> Tensor:
    return x[..., ::2] if x.dim() else x


def shifted(x: Tensor) -> Tensor:
    return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def expanded(x: Tensor) -> Tensor:
    return x.unsqueeze(0).expand(3, *x.shape)


LAYOUTS = (as_it_is, reversed_axes, every_other, shifted, channels_last, expanded)


@settings(max_examples=300, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), max_size=5).map(tuple),
    dtype=st.sampled_from(DTYPES),
    eps=st.sampled_from(EPSILONS),
    layout=st.sampled_from(LAYOUTS),
    contiguous=st.sampled_from(("neither", "relevance", "z")),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout(
    shape: tuple[int, ...], dtype: torch.dtype, eps: float, layout: object, contiguous: str, seed: int
) -> None:
    assert callable(layout)
    relevance, z = layout(numbers(shape, dtype, seed)), layout(numbers(shape, dtype, seed + 1))
    relevance = relevance.contiguous() if contiguous == "relevance" else relevance
    z = z.contiguous() if contiguous == "z" else z
    result = stabilised_divide(relevance, z, eps)
    assert_same_bits(result, oracle(relevance, z, eps))
    assert result.stride() == torch.empty_like(relevance).stride()


def test_channels_last_stays_channels_last() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert stabilised_divide(x, x, 0.1).is_contiguous(memory_format=torch.channels_last)


def test_memory_not_aligned_to_its_elements() -> None:
    storage = bytearray(4 * 10 + 1)
    crooked = torch.frombuffer(storage, dtype=torch.float32, offset=1, count=10)
    crooked.copy_(torch.arange(10.0))
    assert_same_bits(stabilised_divide(crooked, crooked, 0.5), oracle(crooked, crooked, 0.5))


def test_negated_views() -> None:
    view = torch.randn(9, dtype=torch.complex64).conj().imag
    assert view.is_neg()
    assert_same_bits(stabilised_divide(view, view, 0.5), oracle(view.resolve_neg(), view.resolve_neg(), 0.5))


# -- the same bits whatever computes them --


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set_gives_the_same_bits(dtype: torch.dtype, restore_isa: None) -> None:
    relevance, z = numbers((70_001,), dtype, 3), numbers((70_001,), dtype, 4)
    for isa in _library.kernels().build_info()["isas_available"]:
        _library.kernels().set_isa(isa)
        assert _library.kernels().build_info()["isa_in_use"] == isa
        assert_same_bits(stabilised_divide(relevance, z, 1e-6), oracle(relevance, z, 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
def test_number_of_threads_does_not_matter(dtype: torch.dtype, restore_threads: None) -> None:
    relevance, z = numbers((300_007,), dtype, 5), numbers((300_007,), dtype, 6)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(stabilised_divide(relevance, z, 1e-6))
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_flushing_denormals_does_not_matter() -> None:
    relevance, z = numbers((100_003,), torch.float32, 7), numbers((100_003,), torch.float32, 8)
    expected = oracle(relevance, z, 1e-45)
    assert torch.set_flush_denormal(True)
    try:
        result = stabilised_divide(relevance, z, 1e-45)
        still_flushing = (torch.tensor([1e-30]) * 1e-10).item() == 0.0
    finally:
        torch.set_flush_denormal(False)
    assert_same_bits(result, expected)
    assert still_flushing


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_gives_the_bits_of_the_cpu(dtype: torch.dtype, eps: float) -> None:
    many = numbers((1_000_001,), dtype, 11).repeat(20), numbers((1_000_003,), dtype, 12).repeat(20)
    many_on_device = many[0].cuda(), many[1].cuda()
    for begin, end in (
        (0, 0),
        (0, 1),
        (1, 7),
        (0, 4096),
        (0, 4097),
        (1, 4097),
        (0, 20_000_019),
        (1, 20_000_019),
    ):
        relevance, z = (values[begin:end] for values in many_on_device)
        result = stabilised_divide(relevance, z, eps)
        assert result.is_cuda
        assert_same_bits(result.cpu(), stabilised_divide(many[0][begin:end], many[1][begin:end], eps))


@needs_cuda
@pytest.mark.gpu
def test_cuda_follows_the_current_stream() -> None:
    stream = torch.cuda.Stream()
    z = torch.rand(1 << 24, device="cuda") + 1
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        relevance = z * 3
        result = stabilised_divide(relevance, z, 0.0)
    stream.synchronize()
    assert_same_bits(result.cpu(), oracle(relevance.cpu(), z.cpu(), 0.0))


@needs_cuda
@pytest.mark.gpu
def test_cuda_gradients_and_layouts() -> None:
    relevance = torch.randn(2, 3, 4, 5, device="cuda").contiguous(memory_format=torch.channels_last)
    z = torch.randn_like(relevance).requires_grad_()
    result = stabilised_divide(relevance, z, 0.25)
    assert result.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(result.sum(), z)
    z_cpu = z.detach().cpu().requires_grad_()
    (expected,) = torch.autograd.grad(stabilised_divide(relevance.cpu(), z_cpu, 0.25).sum(), z_cpu)
    assert_same_bits(grad.cpu(), expected)


# -- what torch expects of an op --


def operands(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Away from z = 0, where the formula jumps."""
    generator = torch.Generator().manual_seed(0)
    relevance = torch.randn(3, 4, generator=generator, dtype=dtype)
    z = torch.randn(3, 4, generator=generator, dtype=dtype)
    return relevance.requires_grad_(), (z + z.sign()).requires_grad_()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # read by torch 2.15 itself
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype) -> None:
    op = torch.ops.xaipipe.stabilised_divide.default
    torch.library.opcheck(op, (*operands(dtype), 0.1))
    torch.library.opcheck(op, (torch.randn(4, 3, dtype=dtype).T, torch.randn(3, 4, dtype=dtype), 0.1))


def test_gradients_and_their_gradients() -> None:
    def divide(relevance: Tensor, z: Tensor) -> Tensor:
        return stabilised_divide(relevance, z, 0.1)

    assert torch.autograd.gradcheck(divide, operands())
    assert torch.autograd.gradgradcheck(divide, operands())


def test_gradients_where_only_one_input_needs_them() -> None:
    relevance, z = operands()
    (grad,) = torch.autograd.grad(stabilised_divide(relevance, z.detach(), 0.1).sum(), relevance)
    torch.testing.assert_close(grad, 1 / (z + 0.1 * z.sign()))
    (grad,) = torch.autograd.grad(stabilised_divide(relevance.detach(), z, 0.1).sum(), z)
    torch.testing.assert_close(grad, -relevance / (z + 0.1 * z.sign()) ** 2)


def test_many_cotangents_at_once() -> None:
    relevance, z = operands()
    out = stabilised_divide(relevance, z, 0.1)
    cotangents = torch.eye(12, dtype=torch.float64).view(12, 3, 4)
    batched = torch.autograd.grad(out, z, cotangents, is_grads_batched=True, retain_graph=True)[0]
    for cotangent, grad in zip(cotangents, batched, strict=True):
        torch.testing.assert_close(grad, torch.autograd.grad(out, z, cotangent, retain_graph=True)[0])


def test_vmap() -> None:
    relevance, z = torch.randn(4, 5), torch.randn(5, 3)
    result = torch.func.vmap(stabilised_divide, in_dims=(None, 1, None))(relevance[0], z, 0.1)
    assert_same_bits(result, oracle(relevance[0].expand(3, 5), z.T, 0.1))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own, at its first import
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_without_a_graph_break(backend: str) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("torch's inductor needs g++")

    def rule(relevance: Tensor, z: Tensor) -> Tensor:
        return z * stabilised_divide(relevance.relu(), z, 1e-6)

    relevance, z = numbers((6, 7), torch.float32, 9), numbers((6, 7), torch.float32, 10)
    compiled = torch.compile(rule, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(relevance, z), rule(relevance, z), rtol=0, atol=0, equal_nan=True)


# -- errors say what was got, what was expected and what to do --

X = torch.ones(2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((X, torch.ones(3), 0.1), ValueError, r"got relevance of shape \(2,\), expected \(\*, 3\), .* \.expand_as"),
        ((X, torch.ones(1), 0.1), ValueError, r"got relevance of shape \(2,\), expected \(\*, 1\)"),
        ((X, X.double(), 0.1), TypeError, r"got z of torch.float64, expected torch.float32, .* \.to\("),
        ((X.int(), X, 0.1), TypeError, r"got relevance of torch.int32, expected float32, float64 or"),
        ((X.half(), X.half(), 0.1), TypeError, r"got relevance of torch.float16, .* \.float\(\)"),
        ((X, X.to("meta"), 0.1), ValueError, r"got z on meta, expected cpu, .* \.to\('cpu'\)"),
        ((X, X, -0.1), ValueError, r"got eps -0.1, expected 0 to 3.4e\+38"),
        ((X, X, float("nan")), ValueError, r"got eps nan"),
        ((X, X, float("inf")), ValueError, r"got eps inf"),
        ((X, X, 1e39), ValueError, r"got eps 1e\+39, expected 0 to 3.4e\+38 \(torch.float32\)"),
        (([1.0], X, 0.1), TypeError, r"got list for relevance, expected a tensor; .* torch.as_tensor"),
    ],
)
def test_worded_errors(arguments: tuple[Tensor, Tensor, float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"stabilised_divide: {words}"):
        stabilised_divide(*arguments)


def test_the_registered_op_refuses_too() -> None:
    with pytest.raises(ValueError, match="got relevance of shape"):
        torch.ops.xaipipe.stabilised_divide(torch.ones(2), torch.ones(10**6), 0.1)


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="got tensors on xpu:0, expected cpu or cuda; move them with"):
        _library.runner("stabilised_divide", torch.device("xpu:0"))


def test_a_build_without_cuda_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "kernels", lambda: SimpleNamespace(build_info=lambda: {"cuda": False}))
    with pytest.raises(RuntimeError, match=r"got tensors on cuda:0, expected cpu, .* XAIPIPE_CUDA=ON"):
        _library.runner("stabilised_divide", torch.device("cuda:0"))


def test_a_missing_extension_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xaipipe._kernels", None)
    with pytest.raises(ImportError, match=r"expected the module xaipipe._kernels; .*pip install"):
        _library.kernels.__wrapped__()


def test_isa_from_the_environment(monkeypatch: pytest.MonkeyPatch, restore_isa: None) -> None:
    monkeypatch.setenv("XAIPIPE_ISA", "baseline")
    assert _library.kernels.__wrapped__().build_info()["isa_in_use"] == "baseline"
    monkeypatch.setenv("XAIPIPE_ISA", "mmx")
    with pytest.raises(ValueError, match=r"XAIPIPE_ISA: .* got 'mmx', expected .*: auto, baseline"):
        _library.kernels.__wrapped__()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": 7}, "dtype: got code 7"),
        ({"n": -1}, "n: got -1, expected 0 or more"),
        ({"inputs": [64, 0]}, "z: got a null pointer"),
        ({"inputs": [64]}, "inputs: got 1 of them, expected 2"),
        ({"outputs": [6]}, "out: got a pointer at 0x6"),
        ({"repeats": 0}, "repeats: got 0, expected 1 or more"),
        ({"n": 2**40, "repeats": 2**40}, "sizes: got more elements than memory has addresses"),
        ({"parameters": [-1.0]}, "eps: got -1"),
        ({"num_threads": 0}, "num_threads: got 0, expected 1 to 1024"),
    ],
)
def test_the_module_refuses_broken_preconditions(changes: dict[str, float], words: str) -> None:
    x = torch.ones(4)
    good = {"dtype": 0, "inputs": [x.data_ptr()] * 2, "outputs": [x.data_ptr()], "n": 4, "repeats": 1}
    with pytest.raises(ValueError, match=words):
        _library.kernels().stabilised_divide_cpu(**{**good, "parameters": [0.1], "num_threads": 1, **changes})


def test_build_info_names_the_build() -> None:
    info = _library.kernels().build_info()
    assert info["isa_in_use"] in info["isas_available"]
    assert set(info["isas_available"]) <= set(info["isas_compiled"])
    assert info["cuda"] == bool(info["cuda_version"]) == bool(info["cuda_architectures"])
    assert info["version"]
    assert info["compiler"]
    assert isinstance(info["openmp"], bool)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # which torch itself uses for it
def test_forward_mode_is_refused_rather_than_taken_for_zero() -> None:
    z = torch.ones(3)
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="expected reverse mode"):
        stabilised_divide(forward_ad.make_dual(z, z), z, 0.1)


def test_sparse_tensors_are_refused_in_words() -> None:
    sparse = torch.ones(3).to_sparse()
    with pytest.raises(TypeError, match="expected a dense tensor"):
        stabilised_divide(sparse, sparse, 0.1)
