// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's objects with an owner, and its errors in words. Only worker/tls/ sees this.
#pragma once

#include "worker/net/encryption.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string_view>

namespace ladle::worker {

struct SslRelease {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    void operator()(X509* certificate) const noexcept { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
    void operator()(BIO* bio) const noexcept { BIO_free(bio); }
    void operator()(SSL_SESSION* session) const noexcept { SSL_SESSION_free(session); }
    void operator()(X509_STORE* store) const noexcept { X509_STORE_free(store); }
    void operator()(STACK_OF(X509_NAME) * names) const noexcept { sk_X509_NAME_pop_free(names, X509_NAME_free); }
    void operator()(STACK_OF(X509) * chain) const noexcept { sk_X509_pop_free(chain, X509_free); }
};

using SslPtr = std::unique_ptr<SSL, SslRelease>;
using SessionPtr = std::unique_ptr<SSL_SESSION, SslRelease>;
using SslSettingsPtr = std::unique_ptr<SSL_CTX, SslRelease>;
using CertificatePtr = std::unique_ptr<X509, SslRelease>;
using KeyPtr = std::unique_ptr<EVP_PKEY, SslRelease>;
using BioPtr = std::unique_ptr<BIO, SslRelease>;
using StorePtr = std::unique_ptr<X509_STORE, SslRelease>;
using NamesPtr = std::unique_ptr<STACK_OF(X509_NAME), SslRelease>;
using ChainPtr = std::unique_ptr<STACK_OF(X509), SslRelease>;

/// The latest error's reason, and forgets all of them; a constant text, "unknown error" if there is none.
std::string_view take_tls_error() noexcept;
/// What kind of failure the latest error of a handshake is; forgets nothing.
HandshakeFailure kind_of_tls_error() noexcept;

} // namespace ladle::worker
