# The Python module xaipipe._kernels: every op's NAME_bind.cpp over the static library.
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 CONFIG REQUIRED)

pybind11_add_module(_kernels csrc/bindings/module.cpp csrc/bindings/elementwise.cpp csrc/bindings/kept.cpp
    ${XAIPIPE_BINDINGS})
target_link_libraries(_kernels PRIVATE xaipipe_kernels)

set(XAIPIPE_CUDA_ARCHITECTURES "")
if(XAIPIPE_HAS_CUDA)
    string(REPLACE ";" " " XAIPIPE_CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}")
endif()
set_source_files_properties(csrc/bindings/module.cpp PROPERTIES COMPILE_DEFINITIONS
    "XAIPIPE_VERSION=\"${PROJECT_VERSION}\";XAIPIPE_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\";XAIPIPE_HAS_OPENMP=${XAIPIPE_HAS_OPENMP};XAIPIPE_CUDA_VERSION=\"${CMAKE_CUDA_COMPILER_VERSION}\";XAIPIPE_CUDA_ARCHITECTURES=\"${XAIPIPE_CUDA_ARCHITECTURES}\"")

install(TARGETS _kernels DESTINATION xaipipe)
