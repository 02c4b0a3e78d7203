// The loop of benchmarks/kernels.py in plain C++: residual e = x − z_i·y_j and out_i = Σ_j e y_j, line by line.
// g++ -O3 -march=native -ffast-math -shared -fPIC kernels.cpp -o kernels.so
#include <cstddef>
#include <cstdint>

extern "C" void residual_matmul(int64_t lines, const int64_t *indptr, const uint32_t *indices, const float *values,
                          const float *Z, const float *Y, int64_t rank, float *out) {
  for (int64_t i = 0; i < lines; ++i) {
    const float *z = Z + i * rank;
    float *o = out + i * rank;
    for (int64_t k = 0; k < rank; ++k) o[k] = 0;
    for (int64_t t = indptr[i]; t < indptr[i + 1]; ++t) {
      const float *y = Y + static_cast<int64_t>(indices[t]) * rank;
      float dot = 0;
      for (int64_t k = 0; k < rank; ++k) dot += z[k] * y[k];
      const float e = values[t] - dot;
      for (int64_t k = 0; k < rank; ++k) o[k] += e * y[k];
    }
  }
}
