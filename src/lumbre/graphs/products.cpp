// Products of small float32 matrices in a compiled step, by the kernels that oneDNN makes for a shape.
//
// torch's compiler puts this before the step that it writes in C++ (see _small_products.py). The names at the end lead
// its calls of torch's products here; what does not suit goes on to torch.
#include <ATen/cpu/vec/vec.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstring>
#include <vector>

#ifdef CPUBLAS_BRGEMM_F32F32F32
namespace lumbre {

constexpr int64_t depth = 256;  // of a product at a time, so that what is transposed for it stays in the cache
constexpr int64_t few = 16;  // rows, for which transposing the other factor costs more than it gains

struct Matrix {
  float* data;
  int64_t rows, columns, down, right;  // right is the distance of neighbours in a row

  bool by_rows() const { return right == 1 && down >= columns; }
  bool by_columns() const { return down == 1 && right >= rows; }
};

inline bool read(AtenTensorHandle tensor, int64_t dimensions, float*& data, int64_t*& sizes, int64_t*& strides) {
  int64_t found;
  int32_t dtype;
  void* place;
  if (aoti_torch_get_dim(tensor, &found) || aoti_torch_get_dtype(tensor, &dtype) ||
      aoti_torch_get_sizes(tensor, &sizes) || aoti_torch_get_strides(tensor, &strides) ||
      aoti_torch_get_data_ptr(tensor, &place))
    return false;
  data = static_cast<float*>(place);
  return found == dimensions && dtype == aoti_torch_dtype_float32();
}

inline bool read(AtenTensorHandle tensor, Matrix& matrix) {
  int64_t *sizes, *strides;
  if (!read(tensor, 2, matrix.data, sizes, strides)) return false;
  matrix.rows = sizes[0], matrix.columns = sizes[1], matrix.down = strides[0], matrix.right = strides[1];
  return matrix.by_rows() || matrix.by_columns();
}

// Part of a matrix by rows: in its own place, or a copy.
struct Part {
  const float* data;
  int64_t down;

  Part(const Matrix& matrix, int64_t row, int64_t rows, int64_t column, int64_t columns, std::vector<float>& place) {
    const float* from = matrix.data + row * matrix.down + column * matrix.right;
    if (matrix.by_rows()) {
      data = from, down = matrix.down;
      return;
    }
    place.resize(std::max<size_t>(place.size(), rows * columns));
    at::vec::transpose_mxn<float>(from, matrix.right, place.data(), columns, columns, rows);
    data = place.data(), down = columns;
  }
};

// left @ right (+ bias, the same in each row) into out, or false.
inline bool product(AtenTensorHandle out, AtenTensorHandle bias, AtenTensorHandle left, AtenTensorHandle right) {
  Matrix o, l, r;
  if (!read(out, o) || !read(left, l) || !read(right, r) || !o.by_rows()) return false;
  const int64_t multiplications = o.rows * o.columns * l.columns;
  if (multiplications == 0 || multiplications > LUMBRE_MOST_MULTIPLICATIONS) return false;
  if (o.columns == 1 || (o.rows < few && !r.by_rows())) return false;
  if (bias) {
    float* row;
    int64_t *sizes, *strides;
    if (!read(bias, 1, row, sizes, strides) || strides[0] != 1 || sizes[0] != o.columns) return false;
    for (int64_t i = 0; i < o.rows; i++) std::memcpy(o.data + i * o.down, row, o.columns * sizeof(float));
  }
  static thread_local std::vector<float> of_left, of_right;
  for (int64_t at = 0; at < l.columns; at += depth) {
    const int64_t deep = std::min(depth, l.columns - at);
    const Part a(l, 0, l.rows, at, deep, of_left), b(r, at, deep, 0, r.columns, of_right);
    at::native::cpublas::brgemm(
        o.rows, o.columns, deep, a.down, b.down, o.down, bias || at > 0, a.data, b.data, o.data);
  }
  return true;
}

inline AOTITorchError mm(AtenTensorHandle out, AtenTensorHandle left, AtenTensorHandle right) {
  return product(out, nullptr, left, right) ? AOTI_TORCH_SUCCESS : aoti_torch_cpu_mm_out(out, left, right);
}

inline AOTITorchError addmm(
    AtenTensorHandle out, AtenTensorHandle bias, AtenTensorHandle left, AtenTensorHandle right, double beta,
    double alpha) {
  return beta == 1 && alpha == 1 && product(out, bias, left, right)
      ? AOTI_TORCH_SUCCESS
      : aoti_torch_cpu_addmm_out(out, bias, left, right, beta, alpha);
}

}  // namespace lumbre

#define aoti_torch_cpu_mm_out lumbre::mm
#define aoti_torch_cpu_addmm_out lumbre::addmm
#endif
