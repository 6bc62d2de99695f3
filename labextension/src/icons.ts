/** Our icon: a hub and its workers. Coloured by the theme. */

import { LabIcon } from '@jupyterlab/ui-components';

const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="var(--jp-inverse-layout-color3)">
    <circle cx="12" cy="12" r="3.4"/>
    <circle cx="12" cy="3.6" r="2.1"/><circle cx="19.3" cy="7.8" r="2.1"/><circle cx="19.3" cy="16.2" r="2.1"/>
    <circle cx="12" cy="20.4" r="2.1"/><circle cx="4.7" cy="16.2" r="2.1"/><circle cx="4.7" cy="7.8" r="2.1"/>
    <path d="M11.4 5h1.2v4h-1.2zM11.4 15h1.2v4h-1.2zM14.6 9.8l3.4-2 .6 1-3.4 2zM5.4 15.2l3.4-2 .6 1-3.4 2zM15.2 13.2l3.4 2-.6 1-3.4-2zM6 7.8l3.4 2-.6 1-3.4-2z"/>
  </g>
</svg>`;

export const kubeflowIcon = new LabIcon({ name: 'jupyterlab-kf:icon', svgstr: SVG });
