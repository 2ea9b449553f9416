// SPDX-License-Identifier: Apache-2.0
#include "common/http/freshness.h"

#include "common/http/date.h"
#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

constexpr std::int64_t kNowSeconds = 1'700'000'000;
constexpr std::int64_t kNowMs = kNowSeconds * 1000;

/// "{+60}" becomes the date 60 seconds from now, "{-60}" before it.
std::string with_dates(std::string_view text)
{
    std::string out;
    while (!text.empty()) {
        const std::size_t open = text.find('{');
        out += text.substr(0, open);
        if (open == std::string_view::npos) {
            break;
        }
        const std::size_t close = text.find('}', open);
        char date[kDateLength];
        out += format_date(kNowSeconds + std::stoll(std::string(text.substr(open + 1, close - open - 1))), date);
        text.remove_prefix(close + 1);
    }
    return out;
}

struct Asked {
    std::string_view response;
    std::uint16_t status = 200;
    std::string_view request = "";
    Method method = Method::get;
    StoreRules rules = {};
    std::int64_t delay_ms = 0;
};

StoreDecision decided(const Asked& asked)
{
    const FieldText response(with_dates(asked.response));
    const FieldText request(asked.request);
    const Policy policy = find_policy(response.fields);
    const RequestDirectives directives = request_directives(request.fields);
    return decide_storing({asked.method, request.fields, directives, "http://example.com/a/b?c", asked.status, response.fields,
                           policy, kNowMs - asked.delay_ms, kNowMs},
                          asked.rules);
}

/// "stored 60 max-age", or the reason.
std::string outcome(const Asked& asked)
{
    const StoreDecision decision = decided(asked);
    std::string out(name_of(decision.reason));
    if (decision.may_store()) {
        out += " " + std::to_string(decision.freshness.lifetime_s) + " " + std::string(name_of(decision.source));
    }
    return out;
}

std::string outcome(std::string_view response, std::uint16_t status = 200)
{
    return outcome(Asked{.response = response, .status = status});
}

std::int64_t initial_age_ms(std::string_view response, std::int64_t delay_ms = 0)
{
    return kNowMs - decided({.response = response, .delay_ms = delay_ms}).freshness.born_ms;
}

} // namespace

TEST_CASE("freshness lifetime: s-maxage, max-age, Expires, in this order (RFC 9111 §4.2.1)")
{
    CHECK(outcome("Cache-Control: max-age=1, s-maxage=3600") == "stored 3600 s-maxage");
    CHECK(outcome("Cache-Control: max-age=3600\nCache-Control: s-maxage=1") == "stored 1 s-maxage");
    CHECK(outcome("Expires: {-10}\nCache-Control: max-age=0, s-maxage=3600") == "stored 3600 s-maxage");
    CHECK(outcome("Cache-Control: max-age=3600\nExpires: {-7200}\nDate: {0}") == "stored 3600 max-age");
    CHECK(outcome("Cache-Control: max-age=3600\nExpires: 0") == "stored 3600 max-age");
    CHECK(outcome("Cache-Control: max-age=99999999999") == "stored 2147483648 max-age");
    CHECK(outcome("Expires: {+2592000}\nDate: {0}") == "stored 2592000 expires");
    CHECK(outcome("Expires: {+10}\nDate: foo") == "stored 10 expires"); // no date: the time of arrival (RFC 9110 §6.6.1)
    CHECK(outcome("Expires: {+10}\nDate: {-5}") == "stored 15 expires");
    CHECK(outcome("Expires: {+10}\nDate: {+5}") == "stored 5 expires");
    CHECK(outcome("Expires: {+10}\nExpires: {+10}") == "stored 10 expires");
    CHECK(outcome("Expires: Thu Aug  8 02:01:18 2050\nDate: {0}") == "stored 843536878 expires");
}

TEST_CASE("what is stale on arrival and cannot be validated is not stored")
{
    for (const char* response :
         {"Cache-Control: max-age=0", "Cache-Control: max-age=0\nExpires: {+3600}\nDate: {0}", "Cache-Control: max-age=-3600",
          "Expires: {-100}\nDate: {0}", "Expires: {0}\nDate: {0}", "Expires: {+300}\nDate: {+400}", "Expires: 0\nDate: {0}",
          "Expires: {+10}\nExpires: {+11}", "Expires: {+10}\nDate: {-10}\nAge: 25", "Expires: {+20}\nDate: {+10}\nAge: 15",
          "Cache-Control: max-age=3600\nAge: 7200\nDate: {0}", "Cache-Control: max-age=3600\nDate: {-7200}",
          "Cache-Control: s-maxage=x, max-age=60", "Cache-Control: max-age='3600'", "Cache-Control: no-cache, max-age=60"}) {
        CAPTURE(response);
        CHECK(outcome(response) == "stale");
        CHECK(outcome(std::string(response) + "\nETag: \"a\"").starts_with("stored"));
    }
    CHECK(outcome("Cache-Control: max-age=0, stale-while-revalidate=60") == "stored 0 max-age");
    CHECK(outcome("Cache-Control: max-age=0, stale-if-error=60") == "stored 0 max-age");
    CHECK(outcome("A: b") == "no-freshness");
    CHECK(outcome("ETag: \"a\"") == "stored 0 none"); // for validation
    CHECK(outcome("ETag: nonsense") == "no-freshness");
}

TEST_CASE("heuristic freshness: a tenth, for the statuses that allow it (RFC 9111 §4.2.2, RFC 9110 §15.1)")
{
    const char* modified = "Last-Modified: {-86400}\nDate: {0}";
    for (int status = 200; status < 600; ++status) {
        CAPTURE(status);
        const bool may = status == 200 || status == 203 || status == 204 || status == 300 || status == 301 || status == 308 ||
                         status == 405 || status == 414 || status == 501;
        const bool is_negative = status == 404 || status == 410;
        const std::string expected = may ? "stored 8640 heuristic" : is_negative ? "stored 10 negative" : "";
        const std::string got = outcome(modified, static_cast<std::uint16_t>(status));
        CHECK((expected.empty() ? !got.starts_with("stored") : got == expected));
    }
    CHECK(outcome("Last-Modified: {-86400}\nDate: {0}\nCache-Control: public", 599) == "stored 8640 heuristic");
    CHECK(outcome("Last-Modified: {-86400}\nDate: {0}\nCache-Control: public", 302) == "stored 8640 heuristic");
    CHECK(outcome("Last-Modified: {-8640000}\nDate: {0}") == "stored 86400 heuristic"); // at most a day
    CHECK(outcome("Last-Modified: {+100}\nDate: {0}") == "stored 0 heuristic");
    CHECK(outcome("Last-Modified: {-86400}\nExpires: {-5000}\nDate: {0}") == "stored 0 expires"); // explicit: no heuristics
    StoreRules none;
    none.heuristic_percent = 0;
    CHECK(outcome(Asked{.response = modified, .rules = none}) == "stored 0 none");
    CHECK(decided({.response = modified}).freshness.has(StoredFreshness::kHeuristic));
}

TEST_CASE("any final status may be stored with explicit freshness, but those that are about one request (RFC 9111 §3)")
{
    for (int status = 100; status < 620; ++status) {
        CAPTURE(status);
        const bool is_never = status < 200 || status > 599 || status == 304 || status == 407 || status == 412 || status == 416 ||
                              status == 421 || status == 428 || status == 429 || status == 431 || status == 511;
        const std::string got = outcome("Expires: {+100}\nDate: {0}", static_cast<std::uint16_t>(status));
        CHECK(got == (is_never ? "status" : status == 206 ? "partial" : "stored 100 expires"));
    }
}

TEST_CASE("no-store, private, must-understand (RFC 9111 §5.2.2)")
{
    CHECK(outcome("Cache-Control: max-age=10, no-store") == "no-store");
    CHECK(outcome("Cache-Control: max-age=10, private") == "private");
    CHECK(outcome("Cache-Control: max-age=10, private=\"a\"") == "stored 10 max-age");
    CHECK(outcome("Cache-Control: max-age=10, must-understand, no-store") == "stored 10 max-age");
    CHECK(outcome("Cache-Control: max-age=10, must-understand", 599) == "not-understood");
    CHECK(outcome("Cache-Control: max-age=10, must-understand", 299) == "not-understood");
    CHECK(outcome(Asked{.response = "Cache-Control: max-age=10", .request = "Cache-Control: no-store"}) == "request-no-store");
}

TEST_CASE("Vary: * is never stored")
{
    CHECK(outcome("Cache-Control: max-age=10\nVary: a, *") == "vary-any");
    CHECK(outcome("Cache-Control: max-age=10\nVary: a") == "stored 10 max-age");
}

TEST_CASE("responses to requests with Authorization (RFC 9111 §3.5)")
{
    const auto authorized = [](std::string_view response) {
        return outcome(Asked{.response = response, .request = "Authorization: x"});
    };
    CHECK(authorized("Expires: {+10}\nDate: {0}") == "authorization");
    CHECK(authorized("Cache-Control: max-age=10") == "authorization");
    CHECK(authorized("Cache-Control: max-age=10, proxy-revalidate") == "authorization");
    CHECK(authorized("Cache-Control: max-age=10, public") == "stored 10 max-age");
    CHECK(authorized("Cache-Control: max-age=10, must-revalidate") == "stored 10 max-age");
    CHECK(authorized("Cache-Control: s-maxage=10") == "stored 10 s-maxage");
}

TEST_CASE("Set-Cookie is stored only where the server itself says how long")
{
    const auto with_cookie = [](std::string_view response, CookieRule rule = CookieRule::if_explicit) {
        StoreRules rules;
        rules.cookies = rule;
        rules.default_ttl = Seconds(5);
        return outcome(Asked{.response = "Set-Cookie: a=b\n" + std::string(response), .rules = rules});
    };
    CHECK(with_cookie("Cache-Control: max-age=10") == "stored 10 max-age");
    CHECK(with_cookie("Cache-Control: s-maxage=10") == "stored 10 s-maxage");
    CHECK(with_cookie("Expires: {+10}\nDate: {0}") == "stored 10 expires");
    CHECK(with_cookie("Cache-Control: public\nETag: \"a\"") == "stored 5 default-ttl");
    CHECK(with_cookie("Last-Modified: {-86400}\nDate: {0}") == "set-cookie");
    CHECK(with_cookie("ETag: \"a\"") == "set-cookie");
    CHECK(with_cookie("Cache-Control: max-age=0\nETag: \"a\"") == "set-cookie");
    CHECK(with_cookie("Cache-Control: max-age=10, no-cache\nETag: \"a\"") == "set-cookie");
    CHECK(with_cookie("Cache-Control: max-age=10", CookieRule::never) == "set-cookie");
    CHECK(with_cookie("ETag: \"a\"", CookieRule::ignore) == "stored 5 default-ttl");
}

TEST_CASE("methods (RFC 9111 §3, RFC 9110 §9.3.3)")
{
    const auto posted = [](std::string_view response) { return outcome(Asked{.response = response, .method = Method::post}); };
    CHECK(posted("Cache-Control: max-age=10\nContent-Location: http://example.com/a/b?c") == "stored 10 max-age");
    CHECK(posted("Cache-Control: max-age=10\nContent-Location: b?c") == "stored 10 max-age");
    CHECK(posted("Cache-Control: max-age=10\nContent-Location:") == "stored 10 max-age"); // the reference to itself
    CHECK(posted("Cache-Control: max-age=10\nContent-Location: /a") == "method");
    CHECK(posted("Cache-Control: max-age=10") == "method");
    CHECK(posted("ETag: \"a\"\nContent-Location: b?c") == "method");
    CHECK(posted("Cache-Control: no-store, max-age=10\nContent-Location: b?c") == "no-store");
    for (const Method method : {Method::head, Method::put, Method::delete_, Method::options, Method::other}) {
        CHECK(outcome(Asked{.response = "Cache-Control: max-age=10\nContent-Location: b?c", .method = method}) == "method");
    }
    StoreRules rules;
    rules.stores_post = false;
    CHECK(outcome(Asked{.response = "Cache-Control: max-age=10\nContent-Location: b?c", .method = Method::post, .rules = rules}) ==
          "method");
}

TEST_CASE("parts (RFC 9111 §3.3)")
{
    StoreRules rules;
    rules.stores_parts = true;
    const auto part = [&](std::string_view response) {
        return outcome(Asked{.response = response, .status = 206, .rules = rules});
    };
    CHECK(part("Cache-Control: max-age=10\nContent-Range: bytes 0-4/10") == "stored 10 max-age");
    CHECK(part("Cache-Control: max-age=10\nContent-Range: bytes 0-4/*") == "stored 10 max-age");
    CHECK(part("Cache-Control: max-age=10\nContent-Range: bytes 4-0/10") == "partial");
    CHECK(part("Cache-Control: max-age=10\nContent-Range: bytes */10") == "partial");
    CHECK(part("Cache-Control: max-age=10\nContent-Type: multipart/byteranges") == "partial");
    CHECK(decided({.response = "Cache-Control: max-age=10\nContent-Range: bytes 0-4/10", .status = 206, .rules = rules})
              .freshness.has(StoredFreshness::kIsPartial));
}

TEST_CASE("targeted fields take Expires and Cache-Control out of play (RFC 9213 §2.2)")
{
    CHECK(outcome("CDN-Cache-Control: max-age=60\nCache-Control: no-store\nExpires: {-5}") == "stored 60 max-age");
    CHECK(outcome("CDN-Cache-Control: no-store\nCache-Control: max-age=60") == "no-store");
    CHECK(outcome("CDN-Cache-Control: must-revalidate\nExpires: {+60}\nDate: {0}") == "no-freshness");
    CHECK(outcome("CDN-Cache-Control: max-age=60,\nCache-Control: max-age=5") == "stored 5 max-age");
    CHECK(outcome("Surrogate-Control: max-age=60;ladle\nCache-Control: no-store") == "stored 60 max-age");
    CHECK(outcome("Surrogate-Control: max-age=3600;not-for-you\nDate: {0}\nAge: 7200") == "no-freshness");
}

TEST_CASE("the operator's rules")
{
    StoreRules rules;
    rules.ttl = Seconds(100);
    const auto ruled = [&rules](std::string_view response, std::uint16_t status = 200) {
        return outcome(Asked{.response = response, .status = status, .rules = rules});
    };
    CHECK(ruled("A: b") == "stored 100 ttl");
    CHECK(ruled("Cache-Control: max-age=5") == "stored 100 ttl");
    CHECK(ruled("Cache-Control: max-age=500\nAge: 20") == "stored 120 ttl"); // 100 from now; Age keeps telling the truth
    CHECK(ruled("Cache-Control: no-store") == "no-store");
    CHECK(ruled("Set-Cookie: a=b") == "set-cookie");
    CHECK(ruled("A: b", 302) == "no-freshness");
    CHECK(ruled("Cache-Control: max-age=5", 302) == "stored 100 ttl");
    CHECK(ruled("Cache-Control: max-age=5", 404) == "stored 5 max-age");
    CHECK(ruled("A: b", 404) == "stored 10 negative");
    CHECK(ruled("Cache-Control: no-cache\nETag: \"a\"") == "stored 100 ttl");
    CHECK(decided({.response = "Cache-Control: no-cache\nETag: \"a\"", .rules = rules})
              .freshness.has(StoredFreshness::kAlwaysValidate));
    rules = {};
    rules.default_ttl = Seconds(7);
    CHECK(ruled("A: b") == "stored 7 default-ttl");
    CHECK(ruled("A: b", 302) == "no-freshness");
    CHECK(ruled("Cache-Control: max-age=5") == "stored 5 max-age");
    CHECK(ruled("Last-Modified: {-100}\nDate: {0}") == "stored 10 heuristic");
    const StatusTtl negative[] = {{500, 599, 3}, {404, 404, 60}};
    rules.negative = negative;
    CHECK(ruled("A: b", 503) == "stored 3 negative");
    CHECK(ruled("A: b", 404) == "stored 60 negative");
    CHECK(ruled("A: b", 410) == "no-freshness");
    rules.negative = {};
    CHECK(ruled("A: b", 404) == "no-freshness");
}

TEST_CASE("age on arrival (RFC 9111 §4.2.3, §5.1)")
{
    CHECK(initial_age_ms("Cache-Control: max-age=9999") == 0);
    CHECK(initial_age_ms("Cache-Control: max-age=9999\nDate: {-10}") == 10'000);
    CHECK(initial_age_ms("Cache-Control: max-age=9999\nDate: {+10}") == 0);
    CHECK(initial_age_ms("Cache-Control: max-age=9999\nAge: 30\nDate: {-10}") == 30'000);
    CHECK(initial_age_ms("Cache-Control: max-age=9999\nAge: 30\nDate: {-60}") == 60'000);
    CHECK(initial_age_ms("Cache-Control: max-age=9999\nAge: 30", 1500) == 31'500);
    CHECK(initial_age_ms("Cache-Control: max-age=9999", -5000) == 0); // the clock was set back

    struct Case {
        const char* lines;
        std::int64_t age;
    };
    for (const Case& c :
         {Case{"Age: 0", 0}, Case{"Age: 7200", 7200}, Case{"Age: 007", 7}, Case{"Age: 7200, 0", 7200}, Case{"Age: 0, 7200", 0},
          Case{"Age: 7200\nAge: 0", 7200}, Case{"Age: 0\nAge: 7200", 0}, Case{"Age: 3600 , 3600", 3600},
          Case{"Age: 7200;foo=bar", 7200}, Case{"Age: 99999999999", std::int64_t{1} << 31},
          Case{"Age: 99999999999999999999999", std::int64_t{1} << 31},
          // What is no number is ignored.
          Case{"Age: abc", 0}, Case{"Age: -7200", 0}, Case{"Age: 7200.0", 0}, Case{"Age: 7200 x", 0}, Case{"Age: \"7200\"", 0},
          Case{"Age:", 0}, Case{"Age: , 7200", 0}, Case{"A: b", 0}}) {
        CAPTURE(c.lines);
        CHECK(received_age(FieldText(c.lines).fields) == c.age);
    }
}

TEST_CASE("what is kept for stale use (RFC 5861, RFC 9111 §4.2.4)")
{
    const auto kept = [](std::string_view response, StoreRules rules = {}) {
        return decided({.response = response, .rules = rules}).freshness;
    };
    const StoredFreshness plain = kept("Cache-Control: max-age=10, stale-while-revalidate=20, stale-if-error=30");
    CHECK(plain.stale_while_revalidate_s == 20);
    CHECK(plain.stale_if_error_s == 30);
    CHECK(plain.status == 200);
    CHECK(plain.flags == 0);
    for (const char* directive : {"must-revalidate", "proxy-revalidate", "s-maxage=10"}) {
        CAPTURE(directive);
        const StoredFreshness strict =
            kept("Cache-Control: max-age=10, stale-while-revalidate=20, stale-if-error=30, " + std::string(directive));
        CHECK(strict.has(StoredFreshness::kMustRevalidate));
        CHECK(strict.stale_while_revalidate_s == 0);
        CHECK(strict.stale_if_error_s == 0);
    }
    StoreRules rules;
    rules.stale_while_revalidate = Seconds(1);
    rules.stale_if_error = Seconds(2);
    CHECK(kept("Cache-Control: max-age=10, stale-while-revalidate=20", rules).stale_while_revalidate_s == 1);
    CHECK(kept("Cache-Control: max-age=10", rules).stale_if_error_s == 2);
    CHECK(kept("Cache-Control: max-age=10, must-revalidate", rules).stale_if_error_s == 0);
    StoreRules lax;
    lax.is_lax_with_s_maxage = true;
    CHECK(kept("Cache-Control: s-maxage=10, stale-while-revalidate=20", lax).stale_while_revalidate_s == 20);
    CHECK(kept("Cache-Control: s-maxage=10", lax).has(StoredFreshness::kMustRevalidate));
    CHECK(kept("Cache-Control: max-age=10, immutable").has(StoredFreshness::kImmutable));
}

TEST_CASE("a validated response is fresh again (RFC 9111 §4.3.4)")
{
    StoredFreshness old = decided({.response = "Cache-Control: max-age=10\nETag: \"a\""}).freshness;
    old.born_ms -= 100'000;
    const FieldText merged(with_dates("Cache-Control: max-age=20\nETag: \"a\"\nDate: {0}"));
    const FieldText received(with_dates("Cache-Control: max-age=20\nDate: {0}\nAge: 3"));
    const Policy policy = find_policy(merged.fields);
    const StoreDecision again = decide_refreshing({old, merged.fields, received.fields, policy, kNowMs - 500, kNowMs}, {});
    REQUIRE(again.may_store());
    CHECK(again.freshness.lifetime_s == 20);
    CHECK(age_at(again.freshness, kNowMs) == 3500);
    CHECK(again.freshness.status == 200);

    const FieldText forbidden("Cache-Control: no-store\nETag: \"a\"");
    const Policy forbidding = find_policy(forbidden.fields);
    CHECK(decide_refreshing({old, forbidden.fields, received.fields, forbidding, kNowMs, kNowMs}, {}).reason ==
          NotStored::no_store);

    const StoredFreshness same = touched(old, kNowMs - 500, kNowMs);
    CHECK(same.lifetime_s == 10);
    CHECK(age_at(same, kNowMs) == 500);

    old.flags |= StoredFreshness::kWasAuthorized;
    CHECK(decide_refreshing({old, merged.fields, received.fields, policy, kNowMs, kNowMs}, {}).reason == NotStored::authorization);
}
