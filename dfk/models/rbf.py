"""scikit-learn's `SVC(kernel="rbf")` on standardised rows, at the speed of matrix products.

`SVC` computes its kernel one pair of rows at a time, which takes hours on the study's
images. Here matrix products compute it, in blocks that bound the memory, and libsvm gets
it ready-made: the same kernel but for rounding, hence the same machine. They are products of
float32, which is also what libsvm keeps its kernel in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from sklearn.svm import SVC

_BLOCK_ROWS, _BLOCK_BYTES = 1024, 2**28  # Of float32; a few such blocks live at a time.

Progress = Callable[[Sequence], Iterable]


@dataclasses.dataclass(frozen=True, eq=False)
class Machine:
    """An RBF support vector machine for C classes, one against one, on rows of D values.

    Attributes:
        mean, scale: float64 [D], of the StandardScaler.
        vectors: the S support vectors class by class, as they came and not standardised, [S, D].
        support: int32 [C], how many of them each class has.
        coefficients: float64 [C-1, S], libsvm's.
        intercepts: float64 [C(C-1)/2], libsvm's.

    Source: Cortes & Vapnik, 1995, "Support-Vector Networks"; Chang & Lin, 2011, "LIBSVM".
    """

    mean: np.ndarray
    scale: np.ndarray
    vectors: np.ndarray
    support: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray

    def __post_init__(self) -> None:
        (count, width), classes = self.vectors.shape, len(self.support)
        shapes = {
            "mean": (width,),
            "scale": (width,),
            "coefficients": (classes - 1, count),
            "intercepts": (classes * (classes - 1) // 2,),
        }
        wrong = [name for name, shape in shapes.items() if getattr(self, name).shape != shape]
        if wrong or self.support.sum() != count:
            raise ValueError(f"{', '.join(wrong) or 'support'}: does not fit the support vectors")

    @classmethod
    def fit(
        cls, rows: np.ndarray, labels: np.ndarray, *, penalty: float, progress: Progress = iter
    ) -> Machine:
        """Trains as `make_pipeline(StandardScaler(), SVC(C=penalty, gamma=1 / D))` does.

        Nothing is drawn at random. The kernel matrix takes 8 N^2 bytes.

        Args:
            rows: of any real dtype, [N, D].
            labels: int [N]; each of 0..C-1 occurs.
            penalty: scikit-learn's C.
            progress: wraps the list of blocks of the kernel matrix, as `tqdm` does.
        """
        mean, scale = _moments(rows)
        kernel = _kernel_matrix(rows, mean, scale, progress)
        svc = SVC(C=penalty, kernel="precomputed").fit(kernel, labels)
        # For two classes, and only for two, scikit-learn turns libsvm's signs around.
        sign = -1.0 if len(svc.classes_) == 2 else 1.0
        return cls(
            mean=mean,
            scale=scale,
            vectors=rows[svc.support_],
            support=svc.n_support_,
            coefficients=sign * svc.dual_coef_,
            intercepts=sign * svc.intercept_,
        )

    def duels(self, rows: np.ndarray) -> np.ndarray:
        """By how much rows [N, D] are on the side of the first of each pair of classes.

        Give it no more than one of `blocks`.

        Returns:
            float64 [N, C(C-1)/2], in the order of `np.triu_indices(C, 1)`: 1 at the first class's
            margin, -1 at the second's.
        """
        x, classes = _standardised(rows, self.mean, self.scale), len(self.support)
        # What the support vectors of each class say to its duels with the C-1 others
        sums = np.zeros((len(rows), classes, classes - 1))
        for k, end in enumerate(np.cumsum(self.support)):
            own = slice(end - self.support[k], end)
            vectors, coefficients = self.vectors[own], self.coefficients[:, own]
            for block in blocks(*vectors.shape):
                kernel = _kernel(x, _standardised(vectors[block], self.mean, self.scale))
                sums[:, k] += kernel @ coefficients[:, block].T
        i, j = np.triu_indices(classes, 1)
        return sums[:, i, j - 1] + sums[:, j, i] + self.intercepts

    def decision(self, rows: np.ndarray) -> np.ndarray:
        """`SVC.decision_function` of rows [N, D], float64 [N, C] as `one_vs_rest` has it."""
        return one_vs_rest(self.duels(rows), len(self.support))


def blocks(rows: int, width: int) -> list[slice]:
    """Cuts `rows` rows into blocks that are small as float32 [B, width]."""
    size = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * width)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What StandardScaler takes off and divides by, float64 [D] each; it divides by no zero."""
    mean = rows.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for block in blocks(*rows.shape):
        centred = _centred(rows[block], mean)
        squares += np.einsum("ij,ij->j", centred, centred)
    scale = np.sqrt(squares / len(rows))
    # What a constant column differs from its mean by is rounding.
    scale[scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    return mean, scale


def _centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Subtracts in float64 and rounds once, float32 [N, D]."""
    return np.subtract(rows, mean, out=np.empty(rows.shape, np.float32), casting="unsafe")


def _standardised(rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    rows = _centred(rows, mean)
    rows /= scale.astype(np.float32)
    return rows


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """exp(-|a - b|^2 / D) of all pairs of rows, float32 [N, D] and [M, D] -> [N, M]."""
    # |a|^2 + |b|^2 - 2ab cancels little: standardised rows are about as long as far apart.
    kernel = a @ b.T
    kernel *= -2.0
    kernel += np.einsum("ij,ij->i", a, a)[:, None]
    kernel += np.einsum("ij,ij->i", b, b)
    kernel /= -a.shape[1]
    return np.exp(kernel, out=kernel)


def _kernel_matrix(
    rows: np.ndarray, mean: np.ndarray, scale: np.ndarray, progress: Progress
) -> np.ndarray:
    """The kernel of all pairs of rows, float64 [N, N], each computed once."""
    matrix = np.empty((len(rows), len(rows)))
    pairs = list(itertools.combinations_with_replacement(blocks(*rows.shape), 2))
    for i, j in progress(pairs):
        if i == j:  # The first of the pairs with this i
            a = _standardised(rows[i], mean, scale)
        b = a if i == j else _standardised(rows[j], mean, scale)
        matrix[i, j] = _kernel(a, b)
        matrix[j, i] = matrix[i, j].T
    return matrix


def one_vs_rest(duels: np.ndarray, classes: int) -> np.ndarray:
    """`SVC.decision_function` of what `Machine.duels` gives.

    Returns:
        float64 [N, C]. For C > 2 how many duels a class wins, and less than a third more
        or less by its margins; for C = 2 the value d of the second class as [-d, d].
    """
    if classes == 2:
        return np.concatenate([duels, -duels], axis=1)
    first, second = (np.eye(classes)[k] for k in np.triu_indices(classes, 1))
    votes = (duels >= 0) @ first + (duels < 0) @ second
    margins = duels @ (first - second)
    return votes + margins / (3 * (np.abs(margins) + 1))
