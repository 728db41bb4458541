import { find } from "./base/dom.ts"

const NAME = "signal-ingest-theme"

/** Light, dark, or the system's choice. Charts paint on canvas, so `onChange` repaints them. */
export function watchTheme(onChange: () => void): void {
  const choice = find("[data-theme-choice]")
  const saved = localStorage.getItem(NAME)
  const radios = [...choice.querySelectorAll("input")]
  for (const radio of radios) if (radio.value === saved) radio.checked = true
  const apply = () => {
    document.documentElement.dataset.theme = radios.find((radio) => radio.checked)?.value ?? "system"
  }
  apply()
  choice.addEventListener("change", () => {
    apply()
    localStorage.setItem(NAME, document.documentElement.dataset.theme ?? "system")
    onChange()
  })
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange)
}
