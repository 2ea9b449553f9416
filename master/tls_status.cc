// SPDX-License-Identifier: Apache-2.0
#include "master/tls_status.h"

#include "common/base/append.h"
#include "common/os/fd.h"
#include "master/human_units.h"
#include "master/key_files.h"
#include "master/status.h"

#include <fmt/format.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

namespace ladle::master {

namespace {

using nlohmann::json;

constexpr std::size_t kMostListed = 100;  // certificates in the JSON
constexpr std::size_t kMostPrinted = 5;   // and for people
constexpr std::size_t kMostNames = 5;     // of each
constexpr std::time_t kSoon = 14 * 86'400;

/// The failed handshakes, as the status calls them.
constexpr std::pair<const char*, shm::Metric> kFailures[] = {
    {"left", shm::Metric::tls_failed_left},
    {"nothing_common", shm::Metric::tls_failed_nothing_common},
    {"client_certificate", shm::Metric::tls_failed_client_certificate},
    {"refused", shm::Metric::tls_failed_refused},
    {"malformed", shm::Metric::tls_failed_malformed},
    {"local", shm::Metric::tls_failed_local},
    {"timeout", shm::Metric::tls_timeouts},
    {"not_tls", shm::Metric::tls_not_tls},
};

/// Empty = the kernel could encrypt; else why not. Where it could, a socket is refused only as it is not connected (ENOTCONN).
std::string why_no_kernel_tls()
{
    constexpr char kName[] = "tls";
    const os::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) {
        return std::strerror(errno);
    }
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_ULP, kName, sizeof kName) == 0 || errno == ENOTCONN) {
        return {};
    }
    return errno == ENOENT ? "the kernel has no module \"tls\" (CONFIG_TLS; modprobe tls)" : std::strerror(errno);
}

json kernel_tls_to_json()
{
    static const std::string missing = why_no_kernel_tls();
    return {{"used", false},
            {"available", missing.empty()},
            {"reason", missing.empty() ? "Ladle encrypts in the process, many records in one system call" : missing}};
}

json certificate_to_json(const shm::Regions& regions, const CertificateBook::Entry& entry, std::time_t now)
{
    const auto stapled_until = static_cast<std::time_t>(shm::staple_until(regions.staples, entry.staple));
    return {{"site", entry.site},
            {"names", entry.names},
            {"key", entry.key_kind},
            {"expires", to_iso(entry.expires)},
            {"days_left", (entry.expires - now) / 86'400},
            {"is_expired", entry.expires <= now},
            {"ocsp_until", stapled_until > now ? json(to_iso(stapled_until)) : json()}};
}

} // namespace

void CertificateBook::follow(const std::shared_ptr<const config::Config>& config)
{
    if (of_.lock() == config) {
        return;
    }
    of_ = config;
    entries_.clear();
    std::set<std::pair<const char*, const char*>> seen; // where their texts lie: sites may share files
    for (const config::Site& site : config->sites) {
        if (!site.tls) {
            continue;
        }
        for (const config::Certificate& certificate : site.tls->certificates) {
            if (!seen.emplace(certificate.chain.text.data(), certificate.key.text.data()).second) {
                continue;
            }
            CertificateSummary summary = summarise_certificate(certificate.chain.text);
            summary.names.resize(std::min(summary.names.size(), kMostNames));
            entries_.push_back({summary.expires, site.name, std::move(summary.key_kind), std::move(summary.names),
                                summary.fingerprint});
        }
    }
    std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.expires < b.expires; });
}

json tls_to_json(const shm::Regions& regions, const config::Config& config, const CertificateBook& book)
{
    const bool is_spoken =
        std::any_of(config.listens.begin(), config.listens.end(), [](const config::Listen& listen) { return listen.is_tls; });
    if (!is_spoken) {
        return nullptr;
    }
    const auto total = [&regions](shm::Metric metric) { return shm::total(regions, metric); };
    const std::uint64_t done = total(shm::Metric::tls_1_2) + total(shm::Metric::tls_1_3);
    const std::uint64_t resumed = total(shm::Metric::tls_resumed);
    json j = {{"library", tls_library_version()},
              {"kernel_tls", kernel_tls_to_json()},
              {"handshakes", {{"full", done - std::min(done, resumed)}, {"resumed", resumed}, {"failed", json::object()}}},
              {"early_data", {{"taken", total(shm::Metric::tls_early_taken)}, {"refused", total(shm::Metric::tls_early_refused)}}},
              {"versions", {{"TLSv1.2", total(shm::Metric::tls_1_2)}, {"TLSv1.3", total(shm::Metric::tls_1_3)}}},
              {"certificates", json::array()},
              {"certificates_total", book.entries().size()}};
    for (const auto& [name, metric] : kFailures) {
        j["handshakes"]["failed"][name] = total(metric);
    }
    const std::time_t now = std::time(nullptr);
    for (std::size_t at = 0; at < std::min(book.entries().size(), kMostListed); ++at) {
        j["certificates"].push_back(certificate_to_json(regions, book.entries()[at], now));
    }
    return j;
}

std::string render_tls(const json& tls)
{
    if (tls.is_null()) {
        return {};
    }
    const json& handshakes = tls["handshakes"];
    std::string failed;
    for (const auto& [name, count] : handshakes["failed"].items()) {
        if (count != 0) {
            failed += fmt::format("{}{} {}", failed.empty() ? "" : ", ", name, count.get<std::uint64_t>());
        }
    }
    const json& kernel = tls["kernel_tls"];
    std::string out = fmt::format(
        "\ntls\n  {}; kernel TLS not used: {}\n  handshakes full {}, resumed {}, TLS 1.3 {}, TLS 1.2 {}{}{}\n",
        tls["library"].get<std::string>(), kernel["reason"].get<std::string>(), handshakes["full"].get<std::uint64_t>(),
        handshakes["resumed"].get<std::uint64_t>(), tls["versions"]["TLSv1.3"].get<std::uint64_t>(),
        tls["versions"]["TLSv1.2"].get<std::uint64_t>(), failed.empty() ? "" : "; failed: ", failed);
    const auto taken = tls["early_data"]["taken"].get<std::uint64_t>();
    const auto refused = tls["early_data"]["refused"].get<std::uint64_t>();
    if (taken + refused > 0) {
        append(out, "  early data taken {}, refused {}\n", taken, refused);
    }
    std::size_t shown = 0;
    for (const json& one : tls["certificates"]) {
        if (shown++ == kMostPrinted) {
            break;
        }
        const auto days = one["days_left"].get<std::int64_t>();
        append(out, "  certificate of {} ({}) expires {}{}{}\n", one["site"].get<std::string>(), one["key"].get<std::string>(),
               one["expires"].get<std::string>(),
               one["is_expired"].get<bool>() ? ", HAS EXPIRED"
               : days * 86'400 < kSoon       ? fmt::format(", SOON: in {} days", days)
                                             : fmt::format(", in {} days", days),
               one["ocsp_until"].is_null() ? "" : "; OCSP answer good until " + one["ocsp_until"].get<std::string>());
    }
    const auto total = tls["certificates_total"].get<std::size_t>();
    return total > kMostPrinted ? out + fmt::format("  and {} certificates that expire later\n", total - kMostPrinted) : out;
}

} // namespace ladle::master
