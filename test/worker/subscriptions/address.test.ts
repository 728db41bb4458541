import { describe, expect, it } from "vitest"
import { addressError } from "../../../src/subscriptions/address.ts"

const error = (url: string, local = false) => addressError(url, { local })

describe("the address of a receiver", () => {
  it.each([
    "https://hooks.example.com/signals?token=a",
    "https://hooks.example.com:443/",
    "https://hooks.example.com:8443/",
    "https://xn--bcher-kva.example/",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    // Names that only look like private ones.
    "https://localhost.example.com/",
    "https://internal.example.com/",
    "https://notlocal/".replace("notlocal", "notlocal.example.org"),
    "https://10.0.0.1.example.org/",
  ])("may be %s", (url) => expect(error(url)).toBeUndefined())

  it.each([
    ["no URL", "hooks.example.com"],
    ["http", "http://hooks.example.com/"],
    ["another scheme", "ftp://hooks.example.com/"],
    ["a file", "file:///etc/passwd"],
    ["data", "data:text/plain,x"],
    ["another port", "https://hooks.example.com:22/"],
    ["the port of http", "https://hooks.example.com:80/"],
    ["a user", "https://user@hooks.example.com/"],
    ["a password", "https://:secret@hooks.example.com/"],
    ["a fragment", "https://hooks.example.com/#a"],
    ["an empty fragment", "https://hooks.example.com/#"],
    ["a dot at the end", "https://hooks.example.com./"],
    ["a single label", "https://intranet/"],
    ["localhost", "https://localhost/"],
    ["localhost in capitals", "https://LOCALHOST/"],
    ["localhost with a dot", "https://localhost./"],
    ["a name of loopback", "https://app.localhost/"],
    ["mDNS", "https://printer.local/"],
    ["the metadata service of Google", "https://metadata.google.internal/"],
    ["a home network", "https://router.home.arpa/"],
    ["a company's network", "https://wiki.corp/"],
    ["Tor", "https://abc.onion/"],
  ])("must not be %s: %s", (_, url) => expect(error(url)).toMatch(/^must /))

  it.each([
    ["this network", "0.0.0.0"],
    ["this network, any", "0.1.2.3"],
    ["private 10", "10.1.2.3"],
    ["private 172", "172.16.0.1"],
    ["private 172, its end", "172.31.255.255"],
    ["private 192", "192.168.1.1"],
    ["loopback", "127.0.0.1"],
    ["loopback, another", "127.255.1.1"],
    ["link-local, metadata", "169.254.169.254"],
    ["carrier-grade NAT", "100.64.0.1"],
    ["metadata of Alibaba", "100.100.100.200"],
    ["protocol assignments", "192.0.0.192"],
    ["documentation 1", "192.0.2.1"],
    ["documentation 2", "198.51.100.1"],
    ["documentation 3", "203.0.113.1"],
    ["benchmarking", "198.18.0.1"],
    ["6to4 relay", "192.88.99.1"],
    ["AS112", "192.31.196.1"],
    ["AMT", "192.52.193.1"],
    ["multicast", "224.0.0.1"],
    ["reserved", "240.0.0.1"],
    ["broadcast", "255.255.255.255"],
    ["decimal", "2130706433"],
    ["octal", "0177.0.0.1"],
    ["hexadecimal", "0x7f.0.0.1"],
    ["hexadecimal, one number", "0x7f000001"],
    ["short", "127.1"],
    ["with a dot at its end", "127.0.0.1."],
    ["full-width digits", "１２７.0.0.1"],
    ["percent-encoded", "%31%32%37.0.0.1"],
    ["full-width dots", "127。0。0。1"],
  ])("must not be an IPv4 address of %s: %s", (_, host) => {
    expect(error(`https://${host}/`)).toMatch(/^must /)
    expect(error(`https://${host}:8443/`)).toMatch(/^must /)
  })

  it.each([
    ["unspecified", "::"],
    ["loopback", "::1"],
    ["mapped IPv4", "::ffff:127.0.0.1"],
    ["mapped IPv4, in hexadecimal", "::ffff:7f00:1"],
    ["mapped public IPv4", "::ffff:8.8.8.8"],
    ["compatible IPv4", "::127.0.0.1"],
    ["translated IPv4", "::ffff:0:127.0.0.1"],
    ["NAT64", "64:ff9b::7f00:1"],
    ["local NAT64", "64:ff9b:1::a00:1"],
    ["6to4", "2002:7f00:1::"],
    ["Teredo", "2001::1"],
    ["unique-local", "fd00::1"],
    ["metadata of AWS", "fd00:ec2::254"],
    ["link-local", "fe80::1"],
    ["site-local", "fec0::1"],
    ["multicast", "ff02::1"],
    ["discard", "100::1"],
    ["dummy", "100:0:0:1::1"],
    ["documentation", "2001:db8::1"],
    ["new documentation", "3fff::1"],
    ["benchmarking", "2001:2::1"],
    ["ORCHID", "2001:20::1"],
    ["segment routing", "5f00::1"],
    ["not given out", "4000::1"],
  ])("must not be an IPv6 address of %s: %s", (_, host) =>
    expect(error(`https://[${host}]/`)).toMatch(/^must /),
  )

  it.each(["http://localhost:8000/a", "http://127.0.0.1:9/", "https://[::1]:1/", "http://127.1:80/"])(
    "may be on the same machine where a setting allows it: %s",
    (url) => {
      expect(error(url, true)).toBeUndefined()
      expect(error(url)).toMatch(/^must /)
    },
  )

  it.each([
    "http://10.0.0.1/",
    "http://hooks.example.com/",
    "https://192.168.0.1/",
    "http://user@localhost/",
  ])("is not on the same machine: %s", (url) => expect(error(url, true)).toMatch(/^must /))
})
