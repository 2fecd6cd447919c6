// Line icons on a 24 by 24 grid.

const PATHS = {
  draw: "M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8 18.5zM14.5 6l3 3",
  edit: "M5 19L15.5 8.500M13.500 6.500l4 4M18 3v4M16 5h4M7 4v3M5.500 5.500h3M19 15v3M17.500 16.500h3",
  ask: "M5 5h14a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1h-7l-4.500 3.500V17H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM10 9.200a2 2 0 1 1 2.600 1.900c-.4.15-.6.4-.6.8v.3M12 14.300v.1",
  brush: "M19.500 4.500L11 13M9.500 13.500a3 3 0 0 1 2 4.500c-1.500 2-4.500 2-7.500 1 1.500-.8 1.500-2 2-3.500a3.200 3.200 0 0 1 3.500-2z",
  erase: "M8.500 19.500L4 15a1 1 0 0 1 0-1.400L13.600 4a1 1 0 0 1 1.400 0l5 5a1 1 0 0 1 0 1.400l-9 9.100zM9 9l6.500 6.500M8.500 19.500H20",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  picture: "M4 6a1 1 0 0 1 1-1h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1zM4 16l4.500-4.500 4 4 2.500-2.500 5 5M15.500 9h.1",
  options: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  gallery: "M4.500 4.500h6v6h-6zM13.500 4.500h6v6h-6zM4.500 13.500h6v6h-6zM13.500 13.500h6v6h-6z",
  sun: "M12 8.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600L7 7M17 17l1.400 1.400M5.600 18.400L7 17M17 7l1.400-1.400",
  moon: "M19.500 14A8 8 0 0 1 10 4.500a8 8 0 1 0 9.500 9.500z",
  half: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M12 8h3.800M12 12h4.500M12 16h3.800",
  download: "M12 4v11M7 10.500l5 5 5-5M5 20h14",
  repeat: "M5 12a7 7 0 0 1 12-4.900L19.500 9.500M19.500 5v4.500H15M19 12a7 7 0 0 1-12 4.900L4.500 14.500M4.500 19v-4.500H9",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.500l4.500 4.500L19 7.500",
  close: "M6 6l12 12M18 6L6 18",
  trash: "M5 7h14M9.500 7V4.500h5V7M7 7l.8 13h8.400L17 7M10.500 11v5M13.500 11v5",
  keyboard: "M3.500 6.500h17v11h-17zM7 10h.1M10.300 10h.1M13.700 10h.1M17 10h.1M8 14h8",
  code: "M8.500 7.500L4 12l4.500 4.500M15.500 7.500L20 12l-4.500 4.500",
  dice: "M5 5h14v14H5zM9 9h.1M15 9h.1M12 12h.1M9 15h.1M15 15h.1",
  alert: "M12 4l9 16H3zM12 10v4.500M12 17.200v.1",
};

const SVG = "http://www.w3.org/2000/svg";

/** An icon; hidden from screen readers, because the control that it stands in has words. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
