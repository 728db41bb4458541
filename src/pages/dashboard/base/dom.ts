/** The one element that matches; the page is broken without it. */
export function find<E extends HTMLElement = HTMLElement>(
  selector: string,
  within: ParentNode = document,
): E {
  const element = within.querySelector<E>(selector)
  if (!element) throw new Error(`The page has no ${selector}.`)
  return element
}

/** An element with attributes and children. Text becomes text nodes, so data can never become markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** Announces a sentence to screen readers, once. */
export function announce(sentence: string): void {
  find("[data-announcement]").textContent = sentence
}
