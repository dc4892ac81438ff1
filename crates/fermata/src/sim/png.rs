//! From SVG to PNG, with a font that comes with the program, so that a picture is the same on every
//! machine, those without fonts included.

use std::sync::Arc;

use anyhow::Context as _;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Pixels for each unit of the SVG.
const SCALE: f32 = 1.5;

/// The picture as PNG.
pub(super) fn of(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let family =
        fonts.faces().next().and_then(|face| face.families.first()).map(|(name, _)| name.clone());
    let family = family.context("find the font's name")?;
    fonts.set_sans_serif_family(family);
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).context("read the SVG")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("scale the picture")?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).context("make room for the picture")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("write the PNG")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(body: &str) -> Vec<u8> {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\">\
             <rect width=\"200\" height=\"40\" fill=\"white\"/>{body}</svg>"
        );
        of(&svg).unwrap()
    }

    #[test]
    fn text_is_drawn_without_any_font_of_the_machine() {
        let text = |family: &str| {
            format!("<text x=\"5\" y=\"25\" font-family=\"{family}\">µ¢ ± ≥ ×</text>")
        };
        let (empty, written) = (picture(""), picture(&text("Helvetica, Arial, sans-serif")));
        assert!(written.starts_with(b"\x89PNG"));
        assert!(written.len() > empty.len() + 100, "{} {}", written.len(), empty.len());
    }
}
