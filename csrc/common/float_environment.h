// IEEE defaults for the length of a scope: round to nearest, denormals kept. A caller may have switched denormals off
// (torch.set_flush_denormal), which would change the bits of a result.
#pragma once

#include <cfenv>

namespace xai {

class DefaultFloatEnvironment {
public:
    DefaultFloatEnvironment() {
        std::fegetenv(&saved_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }
    DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
    DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

private:
    std::fenv_t saved_;
};

}  // namespace xai
