# Decides XAIPIPE_HAS_CUDA (0 or 1) and, where it is 1, enables the language with flags that give IEEE results.
set(XAIPIPE_HAS_CUDA 0)

if(NOT XAIPIPE_CUDA MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "XAIPIPE_CUDA: got '${XAIPIPE_CUDA}', expected AUTO, ON or OFF.")
endif()

if(NOT XAIPIPE_CUDA STREQUAL "OFF")
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
        # Machine code for A100 and H100, which also runs on later 8.x and 9.x devices; PTX for what comes after.
        set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
        set(XAIPIPE_HAS_CUDA 1)
    elseif(XAIPIPE_CUDA STREQUAL "ON")
        message(FATAL_ERROR "XAIPIPE_CUDA: got ON, but no working CUDA compiler was found. Install the CUDA toolkit "
                            "(11.8 or later) and put nvcc on PATH, or name it with "
                            "-DCMAKE_CUDA_COMPILER=/path/to/nvcc, or build for the CPU only with -DXAIPIPE_CUDA=OFF.")
    else()
        message(STATUS "xaipipe: no working CUDA compiler found, building for the CPU only")
    endif()
endif()

if(XAIPIPE_HAS_CUDA)
    # cudart is linked statically so that the module can be imported where there is no driver.
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-ftz=false;-prec-div=true;-prec-sqrt=true>")
    if(XAIPIPE_TESTS)
        add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
    endif()
    message(STATUS "xaipipe: CUDA ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
endif()
