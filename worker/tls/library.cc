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

HandshakeFailure kind_of_tls_error() noexcept
{
    const unsigned long error = ERR_peek_last_error();
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) {
        return HandshakeFailure::malformed; // a point that is on no curve, a signature that does not fit
    }
    switch (const int reason = ERR_GET_REASON(error)) {
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
        return HandshakeFailure::nothing_common;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return HandshakeFailure::certificate;
    case SSL_R_CALLBACK_FAILED:
    case ERR_R_MALLOC_FAILURE:
    case ERR_R_INTERNAL_ERROR:
        return HandshakeFailure::local;
    default:
        return reason >= SSL_AD_REASON_OFFSET ? HandshakeFailure::refused : HandshakeFailure::malformed;
    }
}

} // namespace ladle::worker
