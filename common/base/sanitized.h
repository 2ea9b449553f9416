// SPDX-License-Identifier: Apache-2.0
// Whether this build looks for misuse of memory: what keeps released memory for the next user then gives it back at once, so that
// the sanitizer sees each use after the release, and no leak where there is none.
#pragma once

namespace ladle {

#if defined(__SANITIZE_ADDRESS__) // GCC's name
inline constexpr bool kIsAddressSanitized = true;
#elif defined(__has_feature) // Clang's
#if __has_feature(address_sanitizer)
inline constexpr bool kIsAddressSanitized = true;
#else
inline constexpr bool kIsAddressSanitized = false;
#endif
#else
inline constexpr bool kIsAddressSanitized = false;
#endif

} // namespace ladle
