# What a person can choose, and the flags that follow from it.
set(XAIPIPE_CUDA AUTO CACHE STRING "CUDA kernels: AUTO (where there is a compiler), ON, OFF")
set_property(CACHE XAIPIPE_CUDA PROPERTY STRINGS AUTO ON OFF)
option(XAIPIPE_TESTS "Build the C++ test programs; warnings are errors" OFF)
option(XAIPIPE_SANITIZE "Build everything under AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
if(DEFINED SKBUILD)
    option(XAIPIPE_PYTHON "Build the Python module" ON)
else()
    option(XAIPIPE_PYTHON "Build the Python module" OFF)
endif()

if(XAIPIPE_SANITIZE AND XAIPIPE_PYTHON)
    message(FATAL_ERROR "XAIPIPE_SANITIZE: got ON together with XAIPIPE_PYTHON=ON, expected one of them: a plain "
                        "interpreter cannot load a sanitised module. Use -DXAIPIPE_PYTHON=OFF -DXAIPIPE_TESTS=ON.")
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
endif()

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# Same bits everywhere: no contraction to FMA, nothing of -ffast-math. The last three change no value, they let loops
# with a division or a comparison become vector code.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;-fopenmp-simd;-fno-trapping-math;-fno-math-errno>")
# GCC otherwise turns a condition that is used twice into two branches, and these, in vector code, into both.
add_compile_options("$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-thread-jumps>")

if(XAIPIPE_TESTS)
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion;-Werror>")
    enable_testing()
endif()

if(XAIPIPE_SANITIZE)
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g>")
    add_link_options(-fsanitize=address,undefined)
endif()
