// SPDX-License-Identifier: Apache-2.0
#include "common/base/error.h"

#include <cstring>

namespace ladle {

std::unexpected<Error> fail_errno(std::string what, int code)
{
    what += ": ";
    what += strerrordesc_np(code) != nullptr ? strerrordesc_np(code) : "unknown error";
    return std::unexpected(Error{code, Origin::local, Retry::no, std::move(what)});
}

} // namespace ladle
