// SPDX-License-Identifier: Apache-2.0
//
// Keys whose private half is in a device, as OpenSSL sees them: an EC_KEY or an RSA with the public half and methods of our own.
#include "worker/tls/device.h"

#include "common/base/assert.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include <cstring>

// Keys with methods of our own: deprecated, and without a successor that is no provider.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace ladle::worker {

namespace {

int ec_index()
{
    static const int index = EC_KEY_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

int rsa_index()
{
    static const int index = RSA_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

std::string_view text_of(const unsigned char* bytes, int size) noexcept
{
    return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

int sign_with_ec(int, const unsigned char* digest, int size, unsigned char* out, unsigned* out_size, const BIGNUM*, const BIGNUM*,
                 EC_KEY* key)
{
    const auto* of = static_cast<const KeyDevice::Key*>(EC_KEY_get_ex_data(key, ec_index()));
    std::string signature;
    const bool is_made = of != nullptr && of->device.sign(of->uri, SignAlgorithm::ecdsa, text_of(digest, size), signature);
    if (!is_made || signature.size() > static_cast<std::size_t>(ECDSA_size(key))) {
        return 0;
    }
    std::memcpy(out, signature.data(), signature.size());
    *out_size = static_cast<unsigned>(signature.size());
    return 1;
}

int encrypt_with_rsa(int size, const unsigned char* from, unsigned char* to, RSA* key, int padding)
{
    const auto* of = static_cast<const KeyDevice::Key*>(RSA_get_ex_data(key, rsa_index()));
    const bool is_known = padding == RSA_NO_PADDING || padding == RSA_PKCS1_PADDING;
    const SignAlgorithm algorithm = padding == RSA_NO_PADDING ? SignAlgorithm::rsa_plain : SignAlgorithm::rsa_pkcs1;
    std::string signature;
    const bool is_made = of != nullptr && is_known && of->device.sign(of->uri, algorithm, text_of(from, size), signature);
    if (!is_made || signature.size() > static_cast<std::size_t>(RSA_size(key))) {
        return -1;
    }
    std::memcpy(to, signature.data(), signature.size());
    return static_cast<int>(signature.size());
}

const EC_KEY_METHOD* ec_method()
{
    static const EC_KEY_METHOD* const method = [] {
        EC_KEY_METHOD* made = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
        LADLE_ASSERT(made != nullptr);
        EC_KEY_METHOD_set_sign(made, &sign_with_ec, nullptr, nullptr);
        return made;
    }();
    return method;
}

const RSA_METHOD* rsa_method()
{
    static const RSA_METHOD* const method = [] {
        RSA_METHOD* made = RSA_meth_dup(RSA_PKCS1_OpenSSL());
        LADLE_ASSERT(made != nullptr);
        RSA_meth_set_priv_enc(made, &encrypt_with_rsa);
        return made;
    }();
    return method;
}

bool fill_with_ec(EVP_PKEY& key, const EVP_PKEY& half, const KeyDevice::Key& of)
{
    const EC_KEY* known = EVP_PKEY_get0_EC_KEY(const_cast<EVP_PKEY*>(&half));
    EC_KEY* ec = known != nullptr ? EC_KEY_dup(known) : nullptr;
    const bool is_good = ec != nullptr && EC_KEY_set_method(ec, ec_method()) == 1 &&
                         EC_KEY_set_ex_data(ec, ec_index(), const_cast<KeyDevice::Key*>(&of)) == 1 &&
                         EVP_PKEY_set1_EC_KEY(&key, ec) == 1;
    EC_KEY_free(ec);
    return is_good;
}

bool fill_with_rsa(EVP_PKEY& key, const EVP_PKEY& half, const KeyDevice::Key& of)
{
    const RSA* known = EVP_PKEY_get0_RSA(const_cast<EVP_PKEY*>(&half));
    RSA* rsa = known != nullptr ? RSAPublicKey_dup(known) : nullptr;
    const bool is_good = rsa != nullptr && RSA_set_method(rsa, rsa_method()) == 1 &&
                         RSA_set_ex_data(rsa, rsa_index(), const_cast<KeyDevice::Key*>(&of)) == 1;
    if (is_good) {
        RSA_set_flags(rsa, RSA_FLAG_EXT_PKEY);
    }
    const bool is_set = is_good && EVP_PKEY_set1_RSA(&key, rsa) == 1;
    RSA_free(rsa);
    return is_set;
}

} // namespace

KeyPtr KeyDevice::make_key(const X509& certificate, std::string_view uri)
{
    const EVP_PKEY* half = X509_get0_pubkey(&certificate);
    KeyPtr key(EVP_PKEY_new());
    if (half == nullptr || !key) {
        return nullptr;
    }
    const Key& of = keys_.try_emplace(std::string(uri), *this, std::string(uri)).first->second;
    const bool is_made = EVP_PKEY_is_a(half, "EC") == 1    ? fill_with_ec(*key, *half, of)
                         : EVP_PKEY_is_a(half, "RSA") == 1 ? fill_with_rsa(*key, *half, of)
                                                           : false;
    return is_made ? std::move(key) : nullptr;
}

} // namespace ladle::worker

#pragma GCC diagnostic pop
