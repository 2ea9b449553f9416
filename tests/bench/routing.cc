// SPDX-License-Identifier: Apache-2.0
//
// Bench of the router: what finding the site and the route of a request costs, and whether it allocates.
//
//   routing [ROUNDS]      (default 200 000 requests of each kind; exits with 1 where a bound is broken)
#include "common/config/loader.h"
#include "worker/route/router.h"

#include <fmt/format.h>

#include <time.h>

#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

using namespace ladle;

namespace {

std::size_t g_allocations = 0;

/// Of this thread's processor time: what else the machine does is not ours.
double now_s()
{
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::shared_ptr<const config::Config> load(std::string toml)
{
    config::Recording recording;
    recording.files["bench.toml"] = std::move(toml);
    config::BundleFiles files(std::move(recording));
    config::LoadResult loaded = config::load(files, "bench.toml");
    if (!loaded.config) {
        fmt::print(stderr, "{}", config::to_text(loaded.diagnostics));
        std::exit(2);
    }
    return loaded.config;
}

std::string site(const std::string& name)
{
    return fmt::format("[site.\"{0}\"]\nlisten = \"http://127.0.0.1:8080\"\nupstream = \"http://127.0.0.1:1\"\n", name);
}

/// Sites with routes as they are: prefixes, methods, a header, a cookie, kinds of files.
std::shared_ptr<const config::Config> many_sites()
{
    std::string toml;
    for (int s = 0; s < 1000; ++s) {
        const std::string name = fmt::format("www{}.example.com", s);
        toml += site(name);
        for (int r = 0; r < 20; ++r) {
            toml += fmt::format("[[site.\"{}\".route]]\npath = \"/part{}/*\"\n{}", name, r,
                                r % 5 == 1   ? "method = [\"POST\", \"PUT\"]\n"
                                : r % 5 == 2 ? "cookie = { beta = \"1\" }\n"
                                : r % 5 == 3 ? "type = \"image\"\n"
                                : r % 5 == 4 ? "accept = \"text/html\"\n"
                                             : "");
        }
    }
    return load(std::move(toml));
}

std::shared_ptr<const config::Config> many_expressions(const char* form)
{
    std::string toml = site("a.test");
    for (int r = 0; r < 100; ++r) {
        toml += fmt::format("[[site.\"a.test\".route]]\npath_regex = '{}'\n", fmt::format(fmt::runtime(form), r));
    }
    return load(std::move(toml));
}

/// Asks `rounds` times; prints and returns whether time and allocations are within their bounds.
bool measure(const char* what, double bound_us, int rounds, const std::function<void(int)>& ask)
{
    for (int i = 0; i < 2000; ++i) {
        ask(i); // automata are built as they are used
    }
    const std::size_t before = g_allocations;
    const double begun = now_s();
    for (int i = 0; i < rounds; ++i) {
        ask(i);
    }
    const double each_us = (now_s() - begun) / rounds * 1e6;
    const double allocations = static_cast<double>(g_allocations - before) / rounds;
    const bool is_good = each_us <= bound_us && allocations == 0;
    fmt::print("{:<52} {:8.3f} us a request (at most {}), {:.3f} allocations{}\n", what, each_us, bound_us, allocations,
               is_good ? "" : "  FAILED");
    return is_good;
}

bool measure_sites(int rounds)
{
    const auto config = many_sites();
    const worker::Router router(*config);
    std::vector<std::string> hosts;
    std::vector<std::string> paths;
    for (int i = 0; i < 1000; ++i) {
        hosts.push_back(fmt::format("www{}.example.com", i * 7919 % 1000));
        paths.push_back(fmt::format("/part{}/some/file{}.jpg", i % 25, i));
    }
    static const std::string kText = "Cookiebeta=0; session=0123456789abcdefAccepttext/css,*/*;q=0.1";
    http::Fields fields;
    fields.rebase(kText.data());
    (void)fields.add({0, 6, http::FieldName::cookie, false, 6, 33});
    (void)fields.add({39, 6, http::FieldName::accept, false, 45, 18});
    return measure("1000 sites x 20 routes", 2, rounds, [&](int i) {
        const std::string& host = hosts[static_cast<std::size_t>(i % 1000)];
        const config::Site* found = router.find_site(0, host);
        if (router.find_route(*found, {host, paths[static_cast<std::size_t>(i % 1000)], "", "GET", fields}) == nullptr) {
            std::exit(2);
        }
    });
}

bool measure_expressions(const char* what, const char* form, const std::vector<std::string>& paths, int rounds)
{
    const auto config = many_expressions(form);
    const worker::Router router(*config);
    const http::Fields none;
    return measure(what, 10, rounds, [&](int i) {
        const std::string& path = paths[static_cast<std::size_t>(i) % paths.size()];
        if (router.find_route(config->sites[0], {"a.test", path, "", "GET", none}) == nullptr) {
            std::exit(2);
        }
    });
}

} // namespace

void* operator new(std::size_t size)
{
    ++g_allocations;
    if (void* memory = std::malloc(size)) {
        return memory;
    }
    throw std::bad_alloc();
}

void operator delete(void* memory) noexcept
{
    std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}

int main(int argc, char** argv)
{
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 200'000;
    bool is_good = measure_sites(rounds);
    is_good = measure_expressions("100 expressions, each begins in its own way", "/part{}/[0-9]+/.*",
                                  {"/part99/12/x", "/part50/7/index.html", "/none/of/them"}, rounds) && is_good;
    is_good = measure_expressions("100 expressions, none begins in its own way", ".*/[a-z]+\\.x{}",
                                  {"/some/path/file.x99", "/some/path/file.x50", "/none/of/them.html"}, rounds) && is_good;
    return is_good ? 0 : 1;
}
