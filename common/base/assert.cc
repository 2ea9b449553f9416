// SPDX-License-Identifier: Apache-2.0
#include "common/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace ladle {

namespace {
AssertNote g_note = nullptr;
}

void set_assert_note(AssertNote note) noexcept
{
    g_note = note;
}

void assert_failed(const char* what, const char* file, int line) noexcept
{
    char text[256];
    std::snprintf(text, sizeof text, "%s:%d: assertion failed: %s", file, line, what);
    if (g_note != nullptr) {
        g_note(text);
    }
    std::fprintf(stderr, "ladle: %s\n", text);
    std::abort();
}

} // namespace ladle
