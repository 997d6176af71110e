// The matrix tile of all kernels: a few rows by a few vectors of columns, whose sums stay in registers.
//
// Every sum adds its products in the same order, whatever is computed beside it: a row's answer does not depend on its batch.

#pragma once

#include "vectors.h"

namespace {

constexpr int ROWS = 6;                             // of a tile, at most
constexpr int VECTORS = REGISTERS == 32 ? 4 : 2;    // of a tile, at most: 24 or 12 sums, beside the factors

template <class T> using Sums = typename Vectors<T>::V[ROWS][VECTORS];

template <class T, int R, int N>
void tile(const T *a, int64_t down, int64_t along, const T *b, int64_t step, int64_t length, Sums<T> &sums) {
    using V = typename Vectors<T>::V;
    V sum[R][N] = {};
    for (int64_t k = 0; k < length; k++, a += along, b += step) {
        V v[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) v[j] = Vectors<T>::load(b + j * Vectors<T>::LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) sum[r][j] += a[r * down] * v[j];
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < N; j++) sums[r][j] = sum[r][j];
}

template <class T, int N>
void tile(int64_t rows, const T *a, int64_t down, int64_t along, const T *b, int64_t step, int64_t length, Sums<T> &sums) {
    switch (rows) {
        case 1: return tile<T, 1, N>(a, down, along, b, step, length, sums);
        case 2: return tile<T, 2, N>(a, down, along, b, step, length, sums);
        case 3: return tile<T, 3, N>(a, down, along, b, step, length, sums);
        case 4: return tile<T, 4, N>(a, down, along, b, step, length, sums);
        case 5: return tile<T, 5, N>(a, down, along, b, step, length, sums);
        default: return tile<T, 6, N>(a, down, along, b, step, length, sums);
    }
}

// sums[r][column] of a[row, k] · b[k, column] over k < length, for rows ≤ ROWS and columns ≤ VECTORS · LANES, those of
// whole vectors. a[row, k] is at a + row · down + k · along, and b[k, column] at b + k · step + column.
template <class T>
void tile(int64_t rows, int64_t columns, const T *a, int64_t down, int64_t along, const T *b, int64_t step, int64_t length,
          Sums<T> &sums) {
    constexpr int64_t LANES = Vectors<T>::LANES;
    if (columns <= LANES) return tile<T, 1>(rows, a, down, along, b, step, length, sums);
    if (columns <= 2 * LANES) return tile<T, 2>(rows, a, down, along, b, step, length, sums);
    if constexpr (VECTORS > 3)
        if (columns <= 3 * LANES) return tile<T, 3>(rows, a, down, along, b, step, length, sums);
    return tile<T, VECTORS>(rows, a, down, along, b, step, length, sums);
}

}  // namespace
