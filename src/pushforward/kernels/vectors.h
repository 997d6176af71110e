// Vectors as wide as the processor's registers, and their elementary functions: the one exponential of all kernels.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;  // of a vector register; how many there are
#elif defined(__AVX__)
constexpr int BYTES = 32, REGISTERS = 16;
#elif defined(__ARM_NEON)
constexpr int BYTES = 16, REGISTERS = 32;
#else
constexpr int BYTES = 16, REGISTERS = 16;
#endif

template <class T> struct Vectors {
    static constexpr int64_t LANES = BYTES / sizeof(T);
    typedef T V __attribute__((vector_size(BYTES)));
    typedef T Anywhere __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

    static V load(const T *from) { return *reinterpret_cast<const Anywhere *>(from); }
    static void store(T *to, V v) { *reinterpret_cast<Anywhere *>(to) = v; }

    // The first `count` lanes, or all, if there are no more: the others are 0.
    static V load(const T *from, int64_t count) {
        if (count >= LANES) return load(from);
        V v{};
        std::memcpy(&v, from, count * sizeof(T));
        return v;
    }
    static void store(T *to, V v, int64_t count) {
        if (count >= LANES) return store(to, v);
        std::memcpy(to, &v, count * sizeof(T));
    }

    static V size(V x) { return x < 0 ? -x : x; }

    static V root(V x) {
        T lanes[LANES];
        std::memcpy(lanes, &x, BYTES);
        for (int i = 0; i < LANES; i++) lanes[i] = std::sqrt(lanes[i]);
        std::memcpy(&x, lanes, BYTES);
        return x;
    }

    // 2^n · e^r with |r| ≤ log(2) / 2, and a polynomial: within 2 units in the last place.
    static V exponential(V x) {
        x = x > LARGEST ? V{} + LARGEST : x < SMALLEST ? V{} + SMALLEST : x;  // whose exponentials are infinite and 0
        const V sum = x * T(1.4426950408889634) + MAGIC, n = sum - MAGIC;
        const V r = x - n * LOG2_HIGH - n * LOG2_LOW;
        V p{};
        if constexpr (NARROW)
            for (T c : {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
                p = p * r + c;
        else
            for (int k = 13; k > 1; k--) p = p * r + INVERSE_FACTORIALS[k];
        p = p * r * r + r + 1;
        const Bits whole = as_bits(sum) - as_bits(V{} + MAGIC) + 4 * BIAS;  // n + 4 · BIAS: 2^n may be beyond what T holds
        const Bits half = whole >> 1;
        return p * as_values((half - BIAS) << MANTISSA) * as_values((whole - half - BIAS) << MANTISSA);
    }

    // n · log(2) + log(1 + f) with 1 + f from √½ to √2, by the series of 2 · atanh(f / (2 + f)).
    static V logarithm(V x) {
        const Bits bits = as_bits(x), shifted = bits - SQRT_HALF + (BIAS << MANTISSA), whole = shifted >> MANTISSA;
        const V n = as_values(whole + as_bits(V{} + MAGIC)) - (MAGIC + T(BIAS));
        const V f = as_values(bits - ((whole - BIAS) << MANTISSA)) - 1, s = f / (2 + f), ss = s * s, half = f * f / 2;
        V p{};
        for (int k = NARROW ? 11 : 23; k > 1; k -= 2) p = p * ss + T(2.0 / k);
        const V log = n * LOG2_HIGH - ((half - (s * (half + p * ss) + n * LOG2_LOW)) - f);
        const V other = x == 0 ? V{} - INFINITE : x < 0 ? V{} + (INFINITE - INFINITE) : x;  // infinite, or not a number
        return (x > 0) & (x < INFINITE) ? log : other;
    }

    static V hyperbolic_tangent(V x) { return 1 - 2 / (exponential(2 * x) + 1); }

    // In float32 x · p(x²) up to one and 1 − e^p(x) beyond, least squares at Chebyshev nodes.
    static V error_function(V x) {
        if constexpr (NARROW) {
            const V most = V{} + 4, size = x < 0 ? -x : x, a = size > most ? most : size, s = x * x;
            V in{}, out{};
            for (T c : {7.882497111e-5f, -8.018854992e-4f, 5.189311943e-3f, -2.685432880e-2f, 1.128359746e-1f, -3.761262690e-1f,
                        1.128379166f})
                in = in * s + c;
            for (T c : {-1.828450818e-5f, 3.966124633e-4f, -3.959017882e-3f, 2.447846001e-2f, -1.071502403e-1f,
                        -6.345092938e-1f, -1.128868025f, 2.427083291e-5f})
                out = out * a + c;
            out = 1 - exponential(out);
            return a < 1 ? x * in : x < 0 ? -out : out;
        } else {
            for (int i = 0; i < LANES; i++) x[i] = std::erf(x[i]);
            return x;
        }
    }

  private:
    static constexpr bool NARROW = sizeof(T) == 4;
    typedef std::conditional_t<NARROW, uint32_t, uint64_t> Integer;
    typedef Integer Bits __attribute__((vector_size(BYTES)));
    static constexpr Integer MANTISSA = NARROW ? 23 : 52, BIAS = NARROW ? 127 : 1023;
    static constexpr Integer SQRT_HALF = NARROW ? Integer(0x3f3504f3) : Integer(0x3fe6a09e667f3bcd);  // its bits
    static constexpr T MAGIC = NARROW ? T(12582912) : T(6755399441055744);  // plus n: its last bits are those of n
    static constexpr T LARGEST = NARROW ? 89 : 710, SMALLEST = NARROW ? -104 : -746;
    static constexpr T LOG2_HIGH = NARROW ? T(0.693359375) : T(6.93147180369123816490e-01);
    static constexpr T LOG2_LOW = NARROW ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
    static constexpr T INFINITE = std::numeric_limits<T>::infinity();
    static constexpr T INVERSE_FACTORIALS[14] = {1, 1, 1 / T(2), 1 / T(6), 1 / T(24), 1 / T(120), 1 / T(720), 1 / T(5040),
                                                 1 / T(40320), 1 / T(362880), 1 / T(3628800), 1 / T(39916800),
                                                 1 / T(479001600), 1 / T(6227020800)};

    static Bits as_bits(V v) { return reinterpret_cast<Bits>(v); }
    static V as_values(Bits bits) { return reinterpret_cast<V>(bits); }
};

}  // namespace

// What Python checks its own structs by.
#define SIZE_OF(STRUCT)                                                                                                \
    extern "C" int64_t sizeof_##STRUCT() { return sizeof(STRUCT); }
