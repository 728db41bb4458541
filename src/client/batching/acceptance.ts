/**
 * The promise of `add`. It knows whether somebody waits for it: a rejection that nobody sees must reach the
 * callbacks, and one that the caller handles must not be reported twice.
 *
 * `await` and `Promise.all` call `then` of a subclass, so that nothing else is needed.
 */
export class Acceptance extends Promise<void> {
  #isAwaited = false

  /** Promises that are derived from this one are ordinary ones. */
  static override get [Symbol.species]() {
    return Promise
  }

  /**
   * @param accepting settles as the call of `add` does
   * @param report receives the error when nobody has waited by the next turn of the event loop
   */
  static of(accepting: Promise<void>, report: (error: unknown) => void): Acceptance {
    const acceptance = new Acceptance((resolve, reject) => accepting.then(resolve, reject))
    // Of the parent, or this would count as waiting.
    const handled = Promise.prototype.then.call(acceptance, undefined, (error: unknown) => {
      setTimeout(() => {
        if (!acceptance.#isAwaited) report(error)
      })
    })
    void handled
    return acceptance
  }

  // biome-ignore lint/suspicious/noThenProperty: the point of the class
  override then<Value = void, Other = never>(
    // biome-ignore lint/suspicious/noConfusingVoidType: as the parent declares it
    onFulfilled?: ((value: void) => Value | PromiseLike<Value>) | null,
    onRejected?: ((reason: unknown) => Other | PromiseLike<Other>) | null,
  ): Promise<Value | Other> {
    this.#isAwaited = true
    return super.then(onFulfilled, onRejected)
  }
}
