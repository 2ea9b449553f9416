// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_control.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

ResponseDirectives response(std::string_view line)
{
    ResponseDirectives out;
    read_cache_control(line, out);
    return out;
}

RequestDirectives request(std::string_view line)
{
    RequestDirectives out;
    read_cache_control(line, out);
    return out;
}

constexpr Seconds kStale = Seconds::invalid();

Policy policy(std::string_view lines)
{
    const FieldText text(lines);
    Policy found = find_policy(text.fields);
    found.directives.no_cache_fields = {}; // views into `text`
    found.directives.private_fields = {};
    return found;
}

} // namespace

TEST_CASE("max-age in every spelling (RFC 9111 §5.2, §4.2.1, §1.2.2)")
{
    struct Case {
        const char* line;
        Seconds expected;
    };
    for (const Case& c : {Case{"max-age=3600", Seconds(3600)},
                          Case{"MaX-aGe=3600", Seconds(3600)},
                          Case{"max-age=\"3600\"", Seconds(3600)},
                          Case{"max-age=003600", Seconds(3600)},
                          Case{"foobar, max-age=3600", Seconds(3600)},
                          Case{",, max-age=1 ,", Seconds(1)},
                          Case{"max-age=0", Seconds(0)},
                          Case{"max-age=2147483647", Seconds(2147483647)},
                          Case{"max-age=2147483649", Seconds(2147483648)},
                          Case{"max-age=99999999999", Seconds(2147483648)},
                          Case{"max-age=99999999999999999999999999", Seconds(2147483648)}, // more than 64 bits
                          Case{"max-age=-3600", kStale},
                          Case{"max-age=3600.0", kStale},
                          Case{"max-age=3600.5", kStale},
                          Case{"max-age=a3600", kStale},
                          Case{"max-age=3600a", kStale},
                          Case{"max-age='3600'", kStale},
                          Case{"max-age =3600", kStale},
                          Case{"max-age= 3600", kStale},
                          Case{"max-age", kStale},
                          Case{"max-age=", kStale},
                          Case{"max-age=\"\"", kStale},
                          Case{"max-age=\"36\\00\"", kStale},
                          Case{"max-age=\"3600", kStale},
                          Case{"max-age=3600 x", kStale},
                          Case{"max-age=+1", kStale},
                          Case{"max-age=1, max-age=1800", kStale},
                          Case{"max-age=1800, max-age=1", kStale},
                          Case{"max-age=5, max-age=5", Seconds(5)},
                          Case{"max-age=x, max-age=5", kStale},
                          Case{"max-agee=5", Seconds()},
                          Case{"xmax-age=5", Seconds()},
                          Case{"extension=\"max-age=3600\", max-age=1", Seconds(1)},
                          Case{"max-age=1, extension=\"max-age=3600\"", Seconds(1)},
                          Case{"extension=\"max-age=3600\"", Seconds()},
                          Case{"extension=\"a\\\", max-age=3600\", max-age=1", Seconds(1)},
                          Case{"extension=\"a, max-age=3600", kStale},
                          Case{"", Seconds()}}) {
        CAPTURE(c.line);
        CHECK(response(c.line).max_age == c.expected);
    }
}

TEST_CASE("what forbids is honoured with any argument and inside malformed directives")
{
    for (const char* line : {"no-store", "No-StOrE", "no-store=1", "no-store=\"x\"", "no-store =", "max-age=1 no-store",
                             "max-age=1;no-store", "a=\"b, no-store", "public, no-store", "x y z no-store"}) {
        CAPTURE(line);
        CHECK(response(line).no_store);
    }
    CHECK_FALSE(response("x=\"no-store\"").no_store);
    CHECK_FALSE(response("no-stores").no_store);
    CHECK(response("must-revalidate=1").must_revalidate);
    CHECK(response("proxy-revalidate").proxy_revalidate);
    CHECK(response("max-age=1; private").is_private);
}

TEST_CASE("what permits needs its exact form")
{
    CHECK(response("public").is_public);
    CHECK_FALSE(response("public=1").is_public);
    CHECK_FALSE(response("public x").is_public);
    CHECK(response("immutable").immutable);
    CHECK_FALSE(response("immutable=0").immutable);
    CHECK(response("must-understand").must_understand);
    CHECK_FALSE(response("must-understand=no").must_understand);
    CHECK(response("stale-while-revalidate=10").stale_while_revalidate == Seconds(10));
    CHECK(response("stale-while-revalidate=x").stale_while_revalidate == Seconds());
    CHECK(response("stale-if-error=60, stale-if-error=10").stale_if_error == Seconds(10));
    CHECK(response("stale-if-error").stale_if_error == Seconds());
}

TEST_CASE("no-cache and private with field names (RFC 9111 §5.2.2.4, §5.2.2.7)")
{
    const std::string line = "no-cache=\"a, B\", private=c, private=\"d\", max-age=1";
    const ResponseDirectives named = response(line);
    CHECK_FALSE(named.no_cache);
    CHECK_FALSE(named.is_private);
    CHECK(named.no_cache_fields.has("b"));
    CHECK(named.no_cache_fields.has("A"));
    CHECK_FALSE(named.no_cache_fields.has("c"));
    CHECK(named.private_fields.has("c"));
    CHECK(named.private_fields.has("D"));
    CHECK(named.max_age == Seconds(1));
    for (const char* whole :
         {"no-cache", "no-cache=\"\"", "no-cache=\"a b\"", "no-cache=\"a", "no-cache=", "no-cache=\"a\", no-cache",
          "no-cache=a, no-cache=b, no-cache=c, no-cache=d, no-cache=e"}) { // the fifth does not fit
        CAPTURE(whole);
        CHECK(response(whole).no_cache);
    }
}

TEST_CASE("a request's directives (RFC 9111 §5.2.1, RFC 5861 §4)")
{
    CHECK(request("no-cache").no_cache);
    CHECK(request("no-store").no_store);
    CHECK(request("only-if-cached").only_if_cached);
    CHECK(request("max-age=10, max-age=5").max_age == Seconds(5));
    CHECK(request("max-age=x").max_age.is_given());
    CHECK(request("max-age=x").max_age.value_or(0) == 0);
    CHECK(request("max-stale").any_stale);
    CHECK_FALSE(request("max-stale=10").any_stale);
    CHECK(request("max-stale=10").max_stale == Seconds(10));
    CHECK_FALSE(request("max-stale=x").any_stale);
    CHECK(request("min-fresh=10, min-fresh=20").min_fresh == Seconds(20));
    CHECK(request("stale-if-error=5").stale_if_error == Seconds(5));
    CHECK_FALSE(request("nothing-to-see-here").max_age.is_given());
}

TEST_CASE("several field lines are one list, and Pragma counts only without Cache-Control (RFC 9111 §5.4)")
{
    const FieldText both("Cache-Control: no-store\nCache-Control: max-age=3\nPragma: no-cache");
    CHECK(request_directives(both.fields).no_store);
    CHECK(request_directives(both.fields).max_age == Seconds(3));
    CHECK_FALSE(request_directives(both.fields).no_cache);
    const FieldText pragma("Pragma: x, No-Cache");
    CHECK(request_directives(pragma.fields).no_cache);
    const FieldText other("Pragma: foo");
    CHECK_FALSE(request_directives(other.fields).no_cache);
    CHECK(policy("Cache-Control: max-age=1\nCache-Control: max-age=2").directives.max_age == kStale);
}

TEST_CASE("CDN-Cache-Control governs where it is a well-formed dictionary (RFC 9213 §2)")
{
    const Policy both = policy("Cache-Control: no-store\nCDN-Cache-Control: max-age=60");
    CHECK(both.governor == Governor::cdn_cache_control);
    CHECK_FALSE(both.directives.no_store);
    CHECK(both.directives.max_age == Seconds(60));
    CHECK(policy("CDN-Cache-Control: max-age=60, no-store\nCache-Control: max-age=1").directives.no_store);
    CHECK(policy("CDN-Cache-Control: max-age=60\nCDN-Cache-Control: must-revalidate").directives.must_revalidate);
    CHECK(policy("CDN-Cache-Control: max-age=60, max-age=5").directives.max_age == Seconds(5)); // the last counts
    CHECK(policy("CDN-Cache-Control: max-age=60;a;b=1, x=(1 \"a\";q);z, y=:YQ==:, z=1.5, u=tok/en, v=?0").directives.max_age ==
          Seconds(60));
    CHECK_FALSE(policy("CDN-Cache-Control: no-store=?0, max-age=1").directives.no_store);
    const FieldText repeated("CDN-Cache-Control: no-cache=\"a\", no-cache=?0, private, private=\"b\"");
    CHECK_FALSE(find_policy(repeated.fields).directives.no_cache);
    CHECK(find_policy(repeated.fields).directives.no_cache_fields.empty());
    CHECK_FALSE(find_policy(repeated.fields).directives.is_private);
    CHECK(find_policy(repeated.fields).directives.private_fields.has("b"));
    CHECK(policy("CDN-Cache-Control: private=\"a\", max-age=1").governor == Governor::cdn_cache_control);
}

TEST_CASE("a directive of the wrong type is ignored, a negative time is none (RFC 9213 §2.1)")
{
    CHECK(policy("CDN-Cache-Control: max-age=\"60\"").directives.max_age == Seconds());
    CHECK(policy("CDN-Cache-Control: max-age=1.5").directives.max_age == Seconds());
    CHECK(policy("CDN-Cache-Control: max-age").directives.max_age == Seconds());
    CHECK(policy("CDN-Cache-Control: max-age=-1").directives.max_age == kStale);
    CHECK(policy("CDN-Cache-Control: max-age=999999999999999").directives.max_age == Seconds(2147483648));
    CHECK(policy("CDN-Cache-Control: no-store=1").governor == Governor::cdn_cache_control);
    CHECK_FALSE(policy("CDN-Cache-Control: no-store=1").directives.no_store);
}

TEST_CASE("a malformed CDN-Cache-Control is not there (RFC 9213 §2.1, RFC 8941 §4.2)")
{
    for (const char* value : {"",
                              "max-age=60,",
                              ",max-age=60",
                              "Max-Age=60",
                              "max-age =60",
                              "max-age= 60",
                              "max-age=60;",
                              "max-age=60 private",
                              "max-age=60;;a",
                              "max-age=60, &",
                              "a=\"x",
                              "a=\"\\x\", max-age=60",
                              "a=(1",
                              "a=(1\"b\")",
                              "a=:!:",
                              "a=?2",
                              "a=1234567890123456",
                              "a=1.",
                              "a=1.2345",
                              "a=",
                              "a=\x80",
                              "max-age=60;A=1",
                              "a=1234567890123.1",
                              "-a=1"}) {
        CAPTURE(value);
        const Policy found = policy("Cache-Control: max-age=1\nCDN-Cache-Control: " + std::string(value));
        CHECK(found.governor == Governor::cache_control);
        CHECK(found.directives.max_age == Seconds(1));
        CHECK_FALSE(found.directives.is_private);
    }
    CHECK(policy("CDN-Cache-Control: max-age=60\nCDN-Cache-Control:").governor == Governor::none);
}

TEST_CASE("Surrogate-Control governs for what it targets (W3C Edge Architecture)")
{
    CHECK(policy("Surrogate-Control: max-age=60\nCache-Control: no-store").directives.max_age == Seconds(60));
    CHECK(policy("Surrogate-Control: max-age=60\nCache-Control: no-store").governor == Governor::surrogate_control);
    CHECK_FALSE(policy("Surrogate-Control: max-age=60\nCache-Control: no-store").directives.no_store);
    CHECK(policy("Surrogate-Control: max-age=60;ladle, max-age=5").directives.max_age == Seconds(60));
    CHECK(policy("Surrogate-Control: max-age=60;other, max-age=5").directives.max_age == Seconds(5));
    CHECK(policy("Surrogate-Control: max-age=60;other\nCache-Control: max-age=7").governor == Governor::cache_control);
    CHECK(policy("Surrogate-Control: foo\nCache-Control: max-age=7").directives.max_age == Seconds(7));
    CHECK(policy("Surrogate-Control: content=\"ESI/1.0;x, y\", max-age=9").directives.max_age == Seconds(9));
    CHECK(policy("Surrogate-Control: no-store").directives.no_store);
    CHECK(policy("Surrogate-Control: MaX-aGe=3600, foobar").directives.max_age == Seconds(3600));
    CHECK(policy("Surrogate-Control: max-age =100").directives.max_age == kStale);
    CHECK(policy("Surrogate-Control: max-age= 100").directives.max_age == kStale);
    CHECK(policy("Surrogate-Control: max-age=99999999999").directives.max_age == Seconds(2147483648));
    const Policy extended = policy("Surrogate-Control: max-age=60+30");
    CHECK(extended.directives.max_age == Seconds(60));
    CHECK(extended.directives.stale_while_revalidate == Seconds(30));
    CHECK(extended.directives.stale_if_error == Seconds(30));
    CHECK(policy("Surrogate-Control: max-age=60\nCDN-Cache-Control: max-age=5").governor == Governor::cdn_cache_control);
}
