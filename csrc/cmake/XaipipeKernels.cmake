# The static library that holds every op, and the function that adds one.
add_library(xaipipe_kernels STATIC
    csrc/common/checks.cpp
    csrc/common/elementwise_cpu.cpp
    csrc/common/elementwise_op.cpp
    csrc/common/isa.cpp
    csrc/common/kept_cpu.cpp
    csrc/common/kept_op.cpp
    csrc/common/status.cpp
)
target_include_directories(xaipipe_kernels PUBLIC csrc)

set(XAIPIPE_X86 0)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    set(XAIPIPE_X86 1)
endif()
target_compile_definitions(xaipipe_kernels PUBLIC XAIPIPE_X86=${XAIPIPE_X86} XAIPIPE_HAS_CUDA=${XAIPIPE_HAS_CUDA})

if(XAIPIPE_HAS_CUDA)
    target_link_libraries(xaipipe_kernels PUBLIC CUDA::cudart_static)
endif()

set(XAIPIPE_HAS_OPENMP 0)
find_package(OpenMP COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
    set(XAIPIPE_HAS_OPENMP 1)
    target_link_libraries(xaipipe_kernels PRIVATE OpenMP::OpenMP_CXX)
else()
    message(STATUS "xaipipe: the compiler has no OpenMP, kernels on the CPU use one thread")
endif()

set(XAIPIPE_AVX2_FLAGS -mavx2)
set(XAIPIPE_AVX512_FLAGS -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(XAIPIPE_BINDINGS "")

# xaipipe_add_op(FOLDER NAME) takes csrc/FOLDER/NAME_*: _ref.cpp, _cpu.cpp and _baseline.cpp always; _avx2.cpp and
# _avx512.cpp on x86, _cuda.cu with CUDA, _bind.cpp with Python and _test.cpp with tests, each where the op has one.
function(xaipipe_add_op folder name)
    set(stem csrc/${folder}/${name})
    target_sources(xaipipe_kernels PRIVATE ${stem}_ref.cpp ${stem}_cpu.cpp ${stem}_baseline.cpp)
    foreach(isa avx2 avx512)
        string(TOUPPER ${isa} ISA)
        if(XAIPIPE_X86 AND EXISTS ${PROJECT_SOURCE_DIR}/${stem}_${isa}.cpp)
            target_sources(xaipipe_kernels PRIVATE ${stem}_${isa}.cpp)
            set_source_files_properties(${stem}_${isa}.cpp PROPERTIES COMPILE_OPTIONS "${XAIPIPE_${ISA}_FLAGS}")
        endif()
    endforeach()
    if(XAIPIPE_HAS_CUDA AND EXISTS ${PROJECT_SOURCE_DIR}/${stem}_cuda.cu)
        target_sources(xaipipe_kernels PRIVATE ${stem}_cuda.cu)
    endif()
    if(EXISTS ${PROJECT_SOURCE_DIR}/${stem}_bind.cpp)
        set(XAIPIPE_BINDINGS ${XAIPIPE_BINDINGS} ${stem}_bind.cpp PARENT_SCOPE)
    endif()
    if(XAIPIPE_TESTS AND EXISTS ${PROJECT_SOURCE_DIR}/${stem}_test.cpp)
        add_executable(${name}_test ${stem}_test.cpp)
        target_link_libraries(${name}_test PRIVATE xaipipe_kernels)
        add_test(NAME ${name} COMMAND ${name}_test)
        if(XAIPIPE_SANITIZE AND XAIPIPE_HAS_CUDA)
            # The CUDA driver maps memory where AddressSanitizer keeps its shadow, and never frees its own.
            set_tests_properties(${name} PROPERTIES ENVIRONMENT "ASAN_OPTIONS=protect_shadow_gap=0:detect_leaks=0")
        endif()
    endif()
endfunction()
