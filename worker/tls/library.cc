// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/library.h"

#include <openssl/err.h>

namespace ladle::worker {

std::string_view take_tls_error() noexcept
{
    const char* text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return text != nullptr ? text : "unknown error";
}

} // namespace ladle::worker
