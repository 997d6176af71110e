// What the loops of moves share: vectors of numbers, their exponential, and the doors that Python calls.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int BYTES = 64;  // of a vector

template <class T> struct Vectors {
    static constexpr int64_t LANES = BYTES / sizeof(T);
    typedef T V __attribute__((vector_size(BYTES)));

    static V exponential(V x) {
        if constexpr (sizeof(T) == 4) {  // 2^n · e^r with |r| ≤ log(2) / 2, and a polynomial: within 2 units in the last place
            typedef int32_t I __attribute__((vector_size(BYTES)));
            x = x > 89.0f ? V{} + 89.0f : x < -104.0f ? V{} - 104.0f : x;  // whose exponentials are infinite and 0
            const V scaled = x * 1.44269504f;
            const I n = __builtin_convertvector(scaled + (scaled < 0 ? V{} - 0.5f : V{} + 0.5f), I);
            const V whole = __builtin_convertvector(n, V), r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
            V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
            for (T c : {8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) p = p * r + c;
            p = p * r * r + r + 1.0f;
            const I half = n >> 1, bits[] = {(half + 127) << 23, (n - half + 127) << 23};  // 2^n may be beyond what a float holds
            V powers[2];
            std::memcpy(powers, bits, sizeof(powers));
            return p * powers[0] * powers[1];
        } else {
            for (int i = 0; i < LANES; i++) x[i] = std::exp(x[i]);
            return x;
        }
    }
};

}  // namespace

// Of a kind of move: `move` and `pull`, of templates by these names, for each type of numbers.
#define DOORS(KIND, T, NAME)                                                                                             \
    extern "C" void move_##NAME(const KIND *of, const T *x, const T *raw, T *y, T *log) { move(*of, x, raw, y, log); }   \
    extern "C" void pull_##NAME(const KIND *of, const T *x, const T *raw, const T *y, const T *log, T *in_x, T *in_raw) { \
        pull(*of, x, raw, y, log, in_x, in_raw);                                                                         \
    }

#define SIZE_OF(STRUCT) \
    extern "C" int64_t sizeof_##STRUCT() { return sizeof(STRUCT); }
