// What an op's NAME_bind.cpp needs: a place in the module, pointers from integers, statuses as exceptions.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace xai {

// `static const Binding binding(bind);` at namespace scope puts bind(module) into the module's initialisation.
struct Binding {
    explicit Binding(void (*bind)(pybind11::module_&));
};

inline void* pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

// XAI_INVALID_ARGUMENT becomes a ValueError, XAI_DEVICE_ERROR a RuntimeError, both with xai_last_error()'s words.
// Needs no GIL.
void raise_unless_ok(int status);

}  // namespace xai
