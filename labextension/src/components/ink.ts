/** The theme's colours as a canvas takes them. */

import * as React from 'react';

/** A colour of the style sheet as a canvas takes it: without variables. */
export function resolved(node: HTMLElement, color: string): string {
  const probe = document.createElement('span');
  probe.style.color = color;
  node.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The name of the theme; the body bears it once its colours are there. */
export function useTheme(): string {
  const name = () => document.body.dataset.jpThemeName ?? '';
  const [theme, set] = React.useState(name);
  React.useEffect(() => {
    const watch = new MutationObserver(() => set(name()));
    watch.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name'] });
    return () => watch.disconnect();
  }, []);
  return theme;
}
