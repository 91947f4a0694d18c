// Element types by number, as they cross the C ABI.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

enum xai_dtype {
    XAI_F32 = 0,
    XAI_F64 = 1,
    XAI_BF16 = 2  // the upper half of an f32, stored as uint16_t
};

#ifdef __cplusplus
}
#endif
