// SPDX-License-Identifier: Apache-2.0
//
// A configuration is input: whatever it holds, load() answers with diagnostics. And the forms in which they are shown.
#include "common/base/json.h"
#include "common/config/names.h"
#include "common/config/values.h"
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using namespace ladle;

namespace {

std::string repeated(const std::string& text, std::size_t times)
{
    std::string out;
    out.reserve(text.size() * times);
    for (std::size_t at = 0; at < times; ++at) {
        out += text;
    }
    return out;
}

/// The first message of a text that must be refused.
std::string refusal(const std::string& toml)
{
    const config::LoadResult result = test::load_text(toml);
    CHECK(result.config == nullptr);
    REQUIRE(!result.diagnostics.empty());
    return result.diagnostics[0].message;
}

} // namespace

TEST_CASE("config: nesting without end is an error, not a crash")
{
    CHECK(refusal("a = " + repeated("[", 100'000)).find("nested value depth") != std::string::npos);
    CHECK(refusal("a = " + repeated("{a=", 100'000)).find("nested value depth") != std::string::npos);
    CHECK(refusal(repeated("a.", 1'000'000) + "a = 1") == "a key of more than 16 parts");
    CHECK(refusal("[" + repeated("a . ", 1'000'000) + "a]") == "a key of more than 16 parts");
    CHECK(refusal("[" + repeated("\"a\".", 1'000'000) + "a]") == "a key of more than 16 parts");
    CHECK(refusal("x = \"" + repeated(".", 100) + "\"\n" + repeated("a.", 17) + "a = 1") == "a key of more than 16 parts");
    CHECK(refusal("x = '''\n\"'''\n[" + repeated("'b'.", 40) + "a]") == "a key of more than 16 parts");
}

TEST_CASE("config: dots in strings and comments are no keys")
{
    test::load_good("# " + repeated("a.", 100) +
                    "\n[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n[[site.\"a.test\".route]]\n" +
                    "respond = { body = \"" + repeated("a.", 100) + "\" }\n");
}

TEST_CASE("config: ten thousand mistakes are counted, two hundred shown")
{
    std::string toml;
    for (int at = 0; at < 10'000; ++at) {
        toml += "key" + std::to_string(at) + " = 1\n";
    }
    const config::LoadResult result = test::load_text(toml);
    CHECK(result.config == nullptr);
    CHECK(result.diagnostics.size() == config::kMaxFindings + 1);
    CHECK(result.diagnostics.back().message == "there is more: only the first 200 are shown");
}

TEST_CASE("config: a value of a megabyte makes a short message and a short line")
{
    const std::string text = test::complaints("[log.error]\nto = \"" + std::string(1'000'000, 'x') + "\"\n");
    CHECK(text.size() < 2000);
    CHECK(text.find("...") != std::string::npos);
}

TEST_CASE("config: no byte of a file reaches the terminal as a control character")
{
    const std::string text = test::complaints("[server]\n\"\\u001b[31m\" = 1\nuser = '\x1b[2J'\n");
    CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("config: odd bytes, line ends and marks")
{
    CHECK(refusal("\xff\xfe") != "");
    CHECK(refusal("a = \"\xc3\"") != "");
    CHECK(refusal(std::string("a\0b = 1", 7)) != "");
    CHECK(test::load_text("").config != nullptr);
    CHECK(test::load_text("\xef\xbb\xbf[server]\nworkers = 2\n").config != nullptr);
    CHECK(test::complaints("[server]\r\nuser = 5\r\n").find("    2 | user = 5\n") != std::string::npos);
}

TEST_CASE("config: letters outside ASCII where toml++ asks for blanks")
{
    const auto config =
        test::load_good("[site.\"a.test\"]\n[[site.\"a.test\".route]]\nrespond.body = \"\"\"a \\\n  \u00e4rger\"\"\"\n");
    CHECK(config->sites[0].routes[0].respond->body == "a \u00e4rger");
    CHECK(refusal("[log.error\u00e4\u00e4]\n") == "not valid TOML in this table header: expected ']', saw '\u00e4'");
}

TEST_CASE("config: diagnostics as JSON, for editors")
{
    const config::LoadResult result =
        test::load_text("[site.\"a.test\"]\nupsteam = \"x\"\n[server]\nuser = '\xc3\xa4'\nworkers = 99\n");
    const nlohmann::json json = parse_json(config::to_json(result.diagnostics));
    REQUIRE(json.size() == 2);
    CHECK(json[0] == nlohmann::json{{"severity", "error"},
                                    {"file", "x.toml"},
                                    {"line", 2},
                                    {"column", 1},
                                    {"width", 7},
                                    {"message", "unknown key \"upsteam\" in [site.\"a.test\"]"},
                                    {"hint", "did you mean \"upstream\"?"},
                                    {"key_path", "site.\"a.test\".upsteam"},
                                    {"source_line", "upsteam = \"x\""}});
    CHECK(json[1]["key_path"] == "server.workers");
    CHECK(config::summary(result.diagnostics) == "2 errors");
    CHECK(parse_json(config::to_json({})).empty());
}

TEST_CASE("config: a message of a file as a whole has no line")
{
    config::Diagnostic diagnostic;
    diagnostic.file = "a.toml";
    diagnostic.message = "cannot read it: Permission denied";
    CHECK(config::to_text(diagnostic) == "a.toml: error: cannot read it: Permission denied\n");
    CHECK(config::summary({diagnostic}) == "1 error");
}

TEST_CASE("names: a glob's star stands for any characters")
{
    CHECK(config::match_glob("*", ""));
    CHECK(config::match_glob("/a/*", "/a/"));
    CHECK_FALSE(config::match_glob("/a/*", "/a"));
    CHECK(config::match_glob("/*/b/*c", "/x/y/b/zc/c"));
    CHECK_FALSE(config::match_glob("/*/b/*c", "/x/y/b/zc/d"));
    CHECK(config::match_glob("a?c", "a?c"));
    CHECK_FALSE(config::match_glob("a?c", "abc"));
    CHECK_FALSE(config::match_glob("", "a"));
    // Exponential for a matcher that backtracks into every star.
    CHECK_FALSE(config::match_glob(repeated("a*", 50) + "b", std::string(5000, 'a')));
}

TEST_CASE("names: one glob covers another")
{
    CHECK(config::glob_covers("/a*", "/a/b*"));
    CHECK(config::glob_covers("/*b*", "/a*b"));
    CHECK(config::glob_covers("*", "*"));
    CHECK_FALSE(config::glob_covers("/a/*", "/a*"));
    CHECK_FALSE(config::glob_covers("/ab", "/a*"));
    CHECK(config::glob_covers("/a**", "/a*"));
}

TEST_CASE("names: host patterns")
{
    CHECK(config::match_host("*.a.test", "x.a.test"));
    CHECK(config::match_host("*.a.test", "y.x.a.test"));
    CHECK_FALSE(config::match_host("*.a.test", "a.test"));
    CHECK_FALSE(config::match_host("*.a.test", "xa.test"));
    CHECK_FALSE(config::match_host("*.a.test", ".a.test"));
    CHECK(config::host_covers("*.test", "*.a.test"));
    CHECK_FALSE(config::host_covers("*.a.test", "*.test"));
    CHECK_FALSE(config::host_covers("*.a.test", "*"));
    CHECK(config::host_covers("*", "*.a.test"));
}

TEST_CASE("values: durations and sizes, both ways")
{
    CHECK(config::parse_duration("1500ms") == 1500u);
    CHECK(config::parse_duration("2h") == 7'200'000u);
    CHECK(config::parse_duration("0s") == 0u);
    CHECK(config::parse_size("3GiB") == 3ull << 30);
    CHECK(config::parse_size("2MB") == 2'000'000u);
    CHECK(config::parse_size("0B") == 0u);
    CHECK(config::format_duration(90'000) == "90s");
    CHECK(config::format_duration(60'000) == "1m");
    CHECK(config::format_duration(0) == "0s");
    CHECK(config::format_size(1536) == "1536B");
    CHECK(config::format_size(64 << 20) == "64MiB");
    CHECK(config::format_size(0) == "0B");
}
