// SPDX-License-Identifier: Apache-2.0
#include "master/key_files.h"

#include "common/config/config.h"
#include "common/config/names.h"

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>
#include <xxhash.h>

#include <ctime>
#include <map>
#include <memory>

namespace ladle::master {

namespace {

constexpr int kSoonDays = 14;
constexpr int kLeastRsaBits = 2048; // OpenSSL's security level 2, Debian's default, takes none below

template <typename T, void (*release)(T*)>
struct Release {
    void operator()(T* object) const noexcept { release(object); }
};
void free_bio(BIO* bio) { BIO_free(bio); }
using Bio = std::unique_ptr<BIO, Release<BIO, &free_bio>>;
using Certificate = std::unique_ptr<X509, Release<X509, &X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY, &EVP_PKEY_free>>;
void unload(OSSL_PROVIDER* provider) { OSSL_PROVIDER_unload(provider); }
using Library = std::unique_ptr<OSSL_LIB_CTX, Release<OSSL_LIB_CTX, &OSSL_LIB_CTX_free>>;
using Provider = std::unique_ptr<OSSL_PROVIDER, Release<OSSL_PROVIDER, &unload>>; ///< of a Library that outlives it
using Digest = std::unique_ptr<EVP_MD, Release<EVP_MD, &EVP_MD_free>>;
using Cipher = std::unique_ptr<EVP_CIPHER, Release<EVP_CIPHER, &EVP_CIPHER_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Release<GENERAL_NAMES, &GENERAL_NAMES_free>>;

Bio open_text(std::string_view text)
{
    return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// What OpenSSL says of the first thing that went wrong: with modules that is the system's word. Forgets all of it.
std::string take_library_error()
{
    const unsigned long error = ERR_peek_error();
    const char* file = nullptr;
    const char* detail = nullptr;
    int flags = 0;
    ERR_peek_error_all(&file, nullptr, nullptr, &detail, &flags);
    const char* reason = ERR_reason_error_string(error);
    std::string text = (flags & ERR_TXT_STRING) != 0 && detail != nullptr && *detail != '\0' ? detail
                       : reason != nullptr                                                    ? reason
                                                                                              : "no reason is given";
    ERR_clear_error();
    return text;
}

std::vector<Certificate> read_chain(std::string_view text)
{
    std::vector<Certificate> chain;
    const Bio bio = open_text(text);
    while (X509* found = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
        chain.emplace_back(found);
    }
    ERR_clear_error();
    return chain;
}

/// No password is ever known: an encrypted key is none that can be used.
int refuse_password(char*, int, int, void* was_asked)
{
    *static_cast<bool*>(was_asked) = true;
    return -1;
}

Key parse_key(std::string_view text, bool& is_encrypted)
{
    const Bio bio = open_text(text);
    Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &refuse_password, &is_encrypted));
    ERR_clear_error();
    return key;
}

std::string date_of(const ASN1_TIME* time)
{
    tm parts{};
    char text[32] = "?";
    if (ASN1_TIME_to_tm(time, &parts) == 1) {
        std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
    }
    return text;
}

void look_at_dates(const X509* certificate, config::CertificateReport& report)
{
    const ASN1_TIME* until = X509_get0_notAfter(certificate);
    const ASN1_TIME* from = X509_get0_notBefore(certificate);
    if (X509_cmp_current_time(until) < 0) {
        report.warning = "the certificate has expired, on " + date_of(until);
        report.warning_hint = "clients refuse it: renew it, then ladle reload";
        return;
    }
    if (X509_cmp_current_time(from) > 0) {
        report.warning = fmt::format("the certificate is not valid before {}", date_of(from));
        report.warning_hint = "clients refuse it until then, or this machine's clock is wrong";
        return;
    }
    int days = 0;
    int seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, nullptr, until) == 1 && days < kSoonDays) {
        report.warning = fmt::format("the certificate expires soon, on {}", date_of(until));
        report.warning_hint = "renew it, then ladle reload";
    }
}

void look_at_chain(const std::vector<Certificate>& chain, config::CertificateReport& report)
{
    for (std::size_t at = 1; at < chain.size() && report.warning.empty(); ++at) {
        if (X509_check_issued(chain[at].get(), chain[at - 1].get()) != X509_V_OK) {
            report.warning = fmt::format("certificate {} of the chain did not issue the one before it", at + 1);
            report.warning_hint = "the site's own comes first, then the one that issued it, and so on";
        }
    }
}

void append_name(std::vector<std::string>& names, const ASN1_STRING* name)
{
    const auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name));
    names.push_back(config::normalise_host({text, static_cast<std::size_t>(ASN1_STRING_length(name))}));
}

/// The host names in the certificate; its common name only counts where there are none.
std::vector<std::string> names_of(X509* certificate)
{
    std::vector<std::string> names;
    const Names all(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int at = 0; all && at < sk_GENERAL_NAME_num(all.get()); ++at) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), at);
        if (name->type == GEN_DNS) {
            append_name(names, name->d.dNSName);
        }
    }
    X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = names.empty() ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
    if (at >= 0) {
        append_name(names, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
    return names;
}

std::string kind_of(const EVP_PKEY* key)
{
    const char* name = EVP_PKEY_get0_type_name(key);
    return name != nullptr ? name : "unknown";
}

/// What was found before: thousands of certificates take seconds, and a reload changes few of them.
struct Known {
    config::CertificateReport report;
    std::time_t checked_at = 0;
};
constexpr std::time_t kKnownFor = 3600; // dates pass
constexpr std::size_t kMostKnown = 50'000;

/// Of both texts. Not proof against forgery: who can write them can as well write good ones.
std::pair<std::uint64_t, std::uint64_t> digest_of(std::string_view chain, std::string_view key)
{
    const XXH128_hash_t of_chain = XXH3_128bits(chain.data(), chain.size());
    const XXH128_hash_t of_both = XXH3_128bits_withSeed(key.data(), key.size(), of_chain.low64);
    return {of_both.high64 ^ of_chain.high64, of_both.low64};
}

config::CertificateReport look_at(std::string_view chain_text, std::string_view key_text)
{
    config::CertificateReport report;
    const std::vector<Certificate> chain = read_chain(chain_text);
    if (chain.empty()) {
        report.problem = "the file holds no certificate in PEM form";
        report.hint = "it begins with -----BEGIN CERTIFICATE-----";
        return report;
    }
    bool is_encrypted = false;
    const bool is_in_device = config::is_key_in_device(key_text); // which is the workers' to ask
    const Key key = is_in_device ? Key(X509_get_pubkey(chain.front().get())) : parse_key(key_text, is_encrypted);
    if (!key) {
        report.problem =
            is_encrypted ? "the private key is encrypted with a password" : "there is no private key in PEM form for it";
        report.hint = is_encrypted ? "openssl pkey -in KEY -out NEW writes one without" : "write key = \"file:/etc/ladle/www.key\"";
        return report;
    }
    if (is_in_device && EVP_PKEY_is_a(key.get(), "RSA") != 1 && EVP_PKEY_is_a(key.get(), "EC") != 1) {
        report.problem = fmt::format("a key in a device is of the kind RSA or EC, and this is one of {}", kind_of(key.get()));
        return report;
    }
    if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
        ERR_clear_error();
        report.problem = "the private key does not belong to the certificate";
        report.hint = chain.size() > 1 ? "the site's own certificate comes first in its file" : "";
        return report;
    }
    if (EVP_PKEY_is_a(key.get(), "RSA") == 1 && EVP_PKEY_get_bits(key.get()) < kLeastRsaBits) {
        report.problem = fmt::format("an RSA key of {} bits is too short", EVP_PKEY_get_bits(key.get()));
        report.hint = fmt::format("it has at least {}", kLeastRsaBits);
        return report;
    }
    report.key_kind = kind_of(key.get());
    report.names = names_of(chain.front().get());
    look_at_dates(chain.front().get(), report);
    look_at_chain(chain, report);
    ERR_clear_error();
    return report;
}

} // namespace

config::CertificateReport check_certificate(std::string_view chain_text, std::string_view key_text)
{
    static std::map<std::pair<std::uint64_t, std::uint64_t>, Known> known;
    const std::time_t now = std::time(nullptr);
    if (known.size() > kMostKnown) {
        known.clear();
    }
    Known& found = known[digest_of(chain_text, key_text)];
    if (found.checked_at + kKnownFor <= now || found.checked_at > now) {
        found = {look_at(chain_text, key_text), now};
    }
    return found.report;
}

config::ProvidersReport load_providers(const std::vector<std::string>& names)
{
    // First where nothing is loaded yet, as it will be after a restart.
    const Library fresh(OSSL_LIB_CTX_new());
    std::vector<Provider> loaded;
    for (std::size_t at = 0; at < names.size(); ++at) {
        loaded.emplace_back(OSSL_PROVIDER_load(fresh.get(), names[at].c_str()));
        if (!loaded.back()) {
            return {at, fmt::format("OpenSSL cannot load the provider \"{}\": {}", names[at], take_library_error()),
                    fmt::format("it is built in (default, base), or a module in {}", OPENSSL_info(OPENSSL_INFO_MODULES_DIR))};
        }
    }
    const Digest digest(EVP_MD_fetch(fresh.get(), "SHA256", nullptr));
    const Cipher cipher(EVP_CIPHER_fetch(fresh.get(), "AES-128-GCM", nullptr));
    ERR_clear_error();
    if (!digest || !cipher) {
        return {names.size(), "these providers have not what TLS needs (SHA-256, AES-GCM)", "add \"default\" to the list"};
    }
    static auto& in_use = *new std::map<std::string, OSSL_PROVIDER*>; // for ever: OpenSSL ends after us, and uses them till then
    for (const std::string& name : names) {
        OSSL_PROVIDER* const provider = in_use.contains(name) ? nullptr : OSSL_PROVIDER_load(nullptr, name.c_str());
        if (provider != nullptr) {
            in_use.emplace(name, provider);
        }
    }
    return {};
}

CertificateSummary summarise_certificate(std::string_view chain)
{
    CertificateSummary summary;
    const Bio bio = open_text(chain);
    const Certificate leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (tm parts{}; leaf && ASN1_TIME_to_tm(X509_get0_notAfter(leaf.get()), &parts) == 1) {
        summary.expires = ::timegm(&parts);
    }
    if (leaf) {
        unsigned size = 0;
        X509_digest(leaf.get(), EVP_sha256(), summary.fingerprint.data(), &size);
        summary.names = names_of(leaf.get());
        const EVP_PKEY* key = X509_get0_pubkey(leaf.get());
        summary.key_kind = key != nullptr ? kind_of(key) : "unknown";
    }
    ERR_clear_error();
    return summary;
}

std::string tls_library_version()
{
    return OpenSSL_version(OPENSSL_VERSION);
}

} // namespace ladle::master
