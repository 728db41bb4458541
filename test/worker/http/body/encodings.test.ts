import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decode, ENCODING_NAMES, type EncodingName, encodingOf } from "../../../../src/http/body/encodings.ts"
import { Problem } from "../../../../src/http/request/problems.ts"

const ENCODE: Record<EncodingName, (bytes: Uint8Array) => Uint8Array> = {
  zstd: zstdCompressSync,
  gzip: gzipSync,
  br: brotliCompressSync,
  deflate: deflateSync,
}
const LIMIT = 100_000
const TEXT = new TextEncoder().encode("a signal and another ".repeat(500))
const joined = (...parts: Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]))
const garbage = new TextEncoder().encode("garbage!")

const statusOf = (name: EncodingName, bytes: Uint8Array, limit = LIMIT) => {
  try {
    return decode(name, bytes, limit).length
  } catch (error) {
    if (error instanceof Problem) return error.status
    throw error
  }
}

describe.each(ENCODING_NAMES)("%s", (name) => {
  const encode = ENCODE[name]

  it("is read", () => expect(decode(name, encode(TEXT), LIMIT)).toEqual(Buffer.from(TEXT)))

  it("can be as long as the limit when decoded, and not a byte longer", () => {
    for (const length of [16_384, 50_000, LIMIT]) {
      const encoded = encode(new Uint8Array(length).fill(32))
      expect([length, statusOf(name, encoded, length), statusOf(name, encoded, length - 1)]).toEqual([
        length,
        length,
        413,
      ])
    }
  })

  it("must be complete", () => {
    const encoded = encode(TEXT)
    for (const missing of [1, 3, Math.floor(encoded.length / 2), encoded.length - 1])
      expect([missing, statusOf(name, encoded.subarray(0, encoded.length - missing))]).toEqual([missing, 422])
  })

  it("must match its header", () =>
    expect(statusOf(name, new TextEncoder().encode('{"signals":[]}'))).toBe(422))

  it("must not be followed by anything else", () =>
    expect(statusOf(name, joined(encode(TEXT), garbage))).toBe(422))

  it("answers any bytes with a size or a refusal", () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(), (bytes, index) => {
        const encoded = encode(TEXT)
        const damaged = joined(encoded.subarray(0, index % encoded.length), bytes)
        expect([413, 422].includes(statusOf(name, damaged)) || statusOf(name, damaged) <= LIMIT).toBe(true)
      }),
      { numRuns: 200 },
    ))
})

describe("a body in several parts", () => {
  it.each(["gzip", "zstd"] as const)("is one body where the format allows it: %s", (name) => {
    const [head, tail] = [TEXT.subarray(0, 100), TEXT.subarray(100)].map((part) => ENCODE[name](part))
    expect(decode(name, joined(head ?? TEXT, tail ?? TEXT), LIMIT)).toEqual(Buffer.from(TEXT))
  })

  it.each(["br", "deflate"] as const)("is refused in other formats, and not stored in part: %s", (name) =>
    expect(statusOf(name, joined(ENCODE[name](TEXT), ENCODE[name](TEXT)))).toBe(422),
  )

  it("counts all parts against the limit", () => {
    const half = zstdCompressSync(new Uint8Array(LIMIT / 2).fill(32))
    expect(statusOf("zstd", joined(half, half))).toBe(LIMIT)
    expect(statusOf("zstd", joined(half, half, zstdCompressSync("x")))).toBe(413)
  })

  it("has at most 100 frames of zstd", () => {
    const frame = zstdCompressSync("x")
    expect(statusOf("zstd", joined(...Array(100).fill(frame)))).toBe(100)
    expect(statusOf("zstd", joined(...Array(101).fill(frame)))).toBe(422)
  })

  it("may have skippable frames of zstd", () => {
    const skipped = new Uint8Array([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3])
    expect(statusOf("zstd", joined(skipped, zstdCompressSync(TEXT), skipped))).toBe(TEXT.length)
  })
})

it("deflate is the zlib format alone", () => expect(statusOf("deflate", deflateRawSync(TEXT))).toBe(422))

it("a zstd frame that needs a window above 8 MiB is refused", () => {
  // The frame header of RFC 8878, section 3.1.1: a window of 2^27 bytes, then one raw block of a byte.
  const frame = (windowLog: number) =>
    new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, 9, 0, 0, 120])
  expect(statusOf("zstd", frame(23))).toBe(1)
  expect(statusOf("zstd", frame(24))).toBe(422)
})

it.each([
  [undefined, "identity"],
  ["GZIP", "gzip"],
  ["x-gzip", "gzip"],
  [" br ", "br"],
  ["gzip, br", undefined],
  ["compress", undefined],
  ["constructor", undefined],
  ["", "identity"],
  [" , ", "identity"],
  ["gzip,", "gzip"],
  [", gzip", "gzip"],
  [",\t,ZSTD , ,", "zstd"],
  ["gzip, , gzip", undefined],
  ["gzip br", undefined],
])("Content-Encoding %j means %s", (header, name) => expect(encodingOf(header)).toBe(name))
